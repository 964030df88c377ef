"""Measures of rankings by ir-measures (trec_eval's numbers), under names that read back."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from encloze.data.records import Judgments, Run
from encloze.data.runs import best
from encloze.errors import DataError

DEFAULT = ("nDCG@10", "RR@10", "R@100", "AP")
_ALIASES = {"ndcg": "nDCG", "ndcg_cut": "nDCG", "mrr": "RR", "recip_rank": "RR", "rr": "RR", "recall": "R", "r": "R",
            "map": "AP", "ap": "AP", "p": "P", "precision": "P", "judged": "Judged", "success": "Success"}  # fmt: skip


def canonical(name: str) -> str:
    """The one name of a measure: ``mrr@10``, ``recip_rank@10`` and ``RR@10`` are ``RR@10``; ValueError if unknown."""
    import ir_measures

    match = re.fullmatch(r"([A-Za-z]+(?:_[A-Za-z]+)*)(?:_(?=\d))?(.*)", name.strip())
    head, tail = match.groups() if match else (name, "")
    spelled = _ALIASES.get(head.lower(), head) + (f"@{tail}" if tail.isdigit() else tail)
    try:
        parsed = ir_measures.parse_measure(spelled)
        # trec_eval ends the process at a cutoff of 0, and what no installed provider has would fail after the search.
        if (
            parsed.params.get("cutoff") == 0
            or parsed.params.get("rel", 1) < 1
            or not ir_measures.DefaultPipeline.supports(parsed)
        ):
            raise ValueError(spelled)
        return str(parsed)
    except (NameError, ValueError, SyntaxError, AssertionError) as error:
        known = "nDCG@10, RR@10, R@100, AP, P@5, Success@1, Judged@10, AP(rel=2), ..."
        raise ValueError(f"no measure is called {name!r}; known: {known}") from error


def measure(run: Run, judgments: Judgments, names: Sequence[str] = DEFAULT) -> dict[str, np.ndarray]:
    """Each measure's value for every judged query, in the order of ``judgments``: float64, queries.

    A query that the run lacks scores 0 (trec_eval -c); equal scores are ordered by document id, descending; nDCG has
    linear gains. Raises DataError where the run shares no query with the judgments.
    """
    import ir_measures

    if not run.keys() & judgments.keys():
        raise DataError(
            f"the run and the judgments share no query (run: {next(iter(run), None)!r}, "
            f"judged: {next(iter(judgments), None)!r}). Are they of one data set?"
        )
    place = {query: number for number, query in enumerate(judgments)}
    parsed = {canonical(name): ir_measures.parse_measure(canonical(name)) for name in names}
    values = {name: np.zeros(len(judgments)) for name in parsed}
    # What found nothing scores 0; ir-measures would divide by its length for Judged.
    rankings = {str(place[query]): _ranking(scores) for query, scores in run.items() if query in place and scores}
    judged = {str(place[query]): grades for query, grades in judgments.items()}  # gdeval takes numbers alone
    for metric in ir_measures.iter_calc(list(parsed.values()), judged, rankings):
        values[str(metric.measure)][int(metric.query_id)] = metric.value
    return values


def cutoff(name: str) -> int:
    """How deep a measure looks, 0 where it is as deep as the ranking."""
    import ir_measures

    return int(ir_measures.parse_measure(canonical(name)).params.get("cutoff") or 0)


def _ranking(scores: dict[str, float]) -> dict[str, float]:
    """The same ranking with falling scores: by score in float32, equal ones by id, descending, as trec_eval has it.

    What ir-measures does not take from trec_eval (RR@10) would order equal scores otherwise.
    """
    return {document: -float(rank) for rank, document in enumerate(best(scores, len(scores)))}
