"""Retrieval measures, computed by ir-measures with the rules of trec_eval."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

import numpy as np

from encloze.data.qrels import MAX_GRADE
from encloze.data.records import Judgments, Run
from encloze.data.runs import top_documents
from encloze.errors import DataError

_LIMIT = 2**31  # of the C code that computes measures
DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
_ALIASES = {"ndcg": "nDCG", "ndcg_cut": "nDCG", "mrr": "RR", "recip_rank": "RR", "rr": "RR", "recall": "R", "r": "R",
            "map": "AP", "ap": "AP", "p": "P", "precision": "P", "judged": "Judged", "success": "Success"}  # fmt: skip


def canonical_name(name: str) -> str:
    """Return the name of a measure in the spelling of ir-measures.

    Args:
        name: Name in the spelling of ir-measures or another common one, such as ``mrr@10`` or ``recip_rank@10``.

    Returns:
        The canonical name, such as ``RR@10``.

    Raises:
        ValueError: The measure is unknown, has a cutoff of 0 or above 2^31, or no installed provider of ir-measures
            computes it.

    Example:
        >>> canonical_name("mrr@10")
        'RR@10'
    """
    import ir_measures

    match = re.fullmatch(r"([A-Za-z]+(?:_[A-Za-z]+)*)(?:_(?=\d))?(.*)", name.strip())
    head, tail = match.groups() if match else (name, "")
    spelling = _ALIASES.get(head.lower(), head) + (f"@{tail}" if tail.isdigit() else tail)
    try:
        measure = ir_measures.parse_measure(spelling)
        # trec_eval ends the process at a cutoff of 0; a measure without a provider would fail after the search.
        if (
            not 0 < measure.params.get("cutoff", 1) < _LIMIT
            or not 1 <= measure.params.get("rel", 1) < _LIMIT
            or not ir_measures.DefaultPipeline.supports(measure)
        ):
            raise ValueError(spelling)
        return str(measure)
    except (NameError, TypeError, ValueError, SyntaxError, AssertionError) as error:
        known = "nDCG@10, RR@10, R@100, AP, P@5, Success@1, Judged@10, AP(rel=2), ..."
        raise ValueError(f"unknown measure {name!r}. Use a name of ir-measures, such as {known}") from error


def compute_measures(run: Run, judgments: Judgments, names: Sequence[str] = DEFAULT_MEASURES) -> dict[str, np.ndarray]:
    """Compute measures of a run for each judged query.

    A judged query that is missing in the run has the value 0 (as with ``trec_eval -c``). Documents with equal scores
    (in float32) are ordered by descending id. nDCG uses linear gains.

    Args:
        run: Scores by query and document.
        judgments: Grades by query and document.
        names: Names of measures, as ``canonical_name`` accepts them.

    Returns:
        For each canonical name a float64 array with one value per query, in the order of ``judgments``.

    Raises:
        DataError: The run and the judgments have no query in common, a grade is above 10,000, or a measure that
            gdeval computes (ERR, exponential gains) gets a grade above 4.
        ValueError: A measure is unknown.

    Example:
        >>> compute_measures({"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}}, ["mrr@10"])
        {'RR@10': array([0.5])}
    """
    import ir_measures

    if not run.keys() & judgments.keys():
        raise DataError(
            f"the run and the judgments have no query in common (first in the run: {next(iter(run), None)!r}, first "
            f"judged: {next(iter(judgments), None)!r}). Check that both belong to the same data set"
        )
    number_of = {query: number for number, query in enumerate(judgments)}
    measures = {canonical_name(name): ir_measures.parse_measure(canonical_name(name)) for name in names}
    values = {name: np.zeros(len(judgments)) for name in measures}
    # Empty rankings score 0; ir-measures would divide by their length for Judged. Queries are numbered because gdeval
    # accepts only numbers as query ids.
    rankings = {str(number_of[query]): _rank(scores) for query, scores in run.items() if query in number_of and scores}
    numbered = {str(number_of[query]): _safe_grades(query, grades) for query, grades in judgments.items()}
    try:
        for metric in ir_measures.iter_calc(list(measures.values()), numbered, rankings):
            values[str(metric.measure)][int(metric.query_id)] = metric.value
    except subprocess.CalledProcessError as error:  # gdeval.pl, a Perl script
        raise DataError(
            f"{', '.join(values)} cannot be computed: gdeval, which computes ERR and exponential gains, accepts grades "
            "up to 4 and ids without blanks only. Choose other measures, or change the grades or ids"
        ) from error
    return values


def _safe_grades(query: str, grades: dict[str, int]) -> dict[str, int]:
    """Return grades that trec_eval can process: it crashes if no grade of a query is 0 or higher.

    Negative grades are replaced by -1 and, for such a query, by 0. All measures have the same values: its documents are
    judged, and none is relevant.
    """
    highest, lowest = max(grades.values(), default=0), min(grades.values(), default=0)
    if highest > MAX_GRADE:
        raise DataError(
            f"query {query!r} has the grade {highest}, above the maximum of {MAX_GRADE:,}. Lower the grades"
        )
    if lowest >= 0 or (lowest == -1 and highest >= 0):
        return grades
    minimum = -1 if highest >= 0 else 0
    return {document: max(grade, minimum) for document, grade in grades.items()}


def cutoff_of(name: str) -> int:
    """Return the cutoff of a measure, or 0 if it has none.

    Example:
        >>> cutoff_of("nDCG@10"), cutoff_of("AP")
        (10, 0)
    """
    import ir_measures

    return int(ir_measures.parse_measure(canonical_name(name)).params.get("cutoff") or 0)


def _rank(scores: dict[str, float]) -> dict[str, float]:
    """Replace scores by distinct ones in the same order, that of trec_eval: by score in float32, then by descending id.

    Scores are made distinct because some providers in ir-measures, such as that of RR@10, order equal scores
    differently.
    """
    return {document: -float(rank) for rank, document in enumerate(top_documents(scores, len(scores)))}
