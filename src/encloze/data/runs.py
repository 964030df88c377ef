"""Reading and writing of TREC run files, whose lines are ``query Q0 document rank score tag``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TextIO

import numpy as np

from encloze.data.lines import SEPARATORS, ErrorCollector, read_lines, split_columns
from encloze.data.records import Run
from encloze.storage.integrity import check_if_result

RUN_FILE = "run.trec"
"""Name of the run file in a folder."""
_NUM_COLUMNS = 6
_NUMBER = re.compile(r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *")


def read_run(file: Path, *, may_be_empty: bool = False) -> Run:
    """Read a run from a TREC run file.

    The rank column is ignored, as in trec_eval. Columns are separated by tabs or, in lines without tabs, by blanks, so
    ids may contain blanks if columns are separated by tabs.

    Args:
        file: Run file, plain or gzipped, or a folder with a ``run.trec``.
        may_be_empty: Whether a file without any line is accepted; otherwise it is an error.

    Returns:
        Scores by query id and document id.

    Raises:
        CheckpointError: Encloze wrote the folder, and a file in it has changed since.
        DataError: A line does not have six columns, a score is not a finite number, or a document occurs twice for a
            query; or the file is empty and ``may_be_empty`` is False.
    """
    check_if_result(file)
    file = file / RUN_FILE if file.is_dir() else file
    errors, run = ErrorCollector(), dict[str, dict[str, float]]()
    for location, line in read_lines(file):
        columns = split_columns(line)
        if len(columns) != _NUM_COLUMNS:
            expected = f"expected {_NUM_COLUMNS} columns (query Q0 document rank score tag)"
            errors.add(location, f"{expected}, found {len(columns)}. {SEPARATORS}")
            continue
        query, _, document, _, score, _ = columns
        value = float(score) if _NUMBER.fullmatch(score) else math.nan
        ranking = run.setdefault(query, {})
        if not math.isfinite(value):
            errors.add(location, f"the score must be a finite number, found {score!r}")
        elif document in ranking:
            errors.add(location, f"document {document!r} is ranked twice for query {query!r}")
        else:
            ranking[document] = value
    if not run and not errors.count and not may_be_empty:
        errors.add(file.name, "the run is empty")
    errors.raise_if_any()
    return run


def top_documents(scores: dict[str, float], depth: int) -> dict[str, float]:
    """Return the best documents of a ranking in the order of trec_eval.

    trec_eval compares scores as float32 and orders documents with equal scores by id, descending.

    Args:
        scores: Scores by document id.
        depth: Maximum number of documents to return.

    Returns:
        Scores by document id, best document first.

    Example:
        >>> top_documents({"a": 1.0, "b": 2.0, "c": 1.0}, 2)
        {'b': 2.0, 'c': 1.0}
    """
    with np.errstate(over="ignore"):  # scores beyond the range of float32 become infinite, as in trec_eval
        rounded = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
    ranking = sorted(zip(rounded, scores, scores.values(), strict=True), reverse=True)[:depth]
    return {document: score for _, document, score in ranking}


def write_run(file: Path, run: Run, tag: str = "encloze") -> None:
    """Write a run file, best documents first.

    Args:
        file: File to write.
        run: Scores by query id and document id.
        tag: Name of the system, for the last column. White space in it becomes ``-``.
    """
    with file.open("w", encoding="utf-8") as stream:
        append_run(stream, run, tag)


def append_run(stream: TextIO, run: Run, tag: str = "encloze") -> None:
    """Append the rankings of some queries to an open run file, best documents first."""
    tag = "-".join(tag.split()) or "encloze"
    for query, scores in run.items():
        is_word, lines = query.split() == [query], list[str]()
        for rank, (document, score) in enumerate(top_documents(scores, len(scores)).items(), 1):
            by = " " if is_word and document.split() == [document] else "\t"
            # repr keeps all digits, so a run that is read back has the same ties.
            lines.append(f"{query}{by}Q0{by}{document}{by}{rank}{by}{score!r}{by}{tag}\n")
        stream.write("".join(lines))


def split_run_line(line: str, max_splits: int = -1) -> list[str]:
    """Return the columns of a line that ``append_run`` wrote; with ``max_splits``, the last one is the rest of it."""
    return line.rstrip("\n").split("\t" if "\t" in line else " ", max_splits)


def query_id_of_run_line(line: str) -> str:
    """Return the query id at the start of a line that ``append_run`` wrote, even if the line is incomplete."""
    return line.split("\t" if "\t" in line else " ", 1)[0]
