"""TREC runs: lines of ``query Q0 document rank score tag``, read and written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TextIO

import numpy as np

from encloze.data.lines import Faults, columns
from encloze.data.records import Run

RUN = "run.trec"
"""What a folder calls the run in it."""


def read_run(file: Path, *, may_be_empty: bool = False) -> Run:
    """The run in a file, plain or gzipped, or in a folder; as in trec_eval the rank column is ignored.

    Columns are set apart by blanks, or by tabs where ids hold blanks. Raises DataError with all faulty lines: too few
    columns, no number as a score, a document twice for a query; and where there is none, unless that may be.
    """
    file = file / RUN if file.is_dir() else file
    faults, run = Faults(), dict[str, dict[str, float]]()
    for where, (query, _, document, _, score, *_) in columns(file, 5, faults, separator=None):
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        ranking = run.setdefault(query, {})
        if not math.isfinite(value):
            faults.add(where, f"the score should be a number, found {score!r}")
        elif document in ranking:
            faults.add(where, f"the document {document!r} stands twice in the ranking of query {query!r}")
        else:
            ranking[document] = value
    if not run and not faults.count and not may_be_empty:
        faults.add(file.name, "the run is empty")
    faults.stop()
    return run


def best(scores: dict[str, float], depth: int) -> dict[str, float]:
    """The best documents of a ranking, best first, as trec_eval has them: those equal in float32 by id, descending."""
    with np.errstate(over="ignore"):  # beyond its range all are infinite there
        rounded = np.fromiter(scores.values(), np.float32, len(scores)).tolist()
    first = sorted(zip(rounded, scores, scores.values(), strict=True), reverse=True)[:depth]
    return {document: score for _, document, score in first}


def write_run(file: Path, run: Run, tag: str = "encloze") -> None:
    """Write a run, best documents first."""
    with file.open("w", encoding="utf-8") as stream:
        append_run(stream, run, tag)


def fields(line: str) -> list[str]:
    """The columns of a line as ``append_run`` writes it."""
    return line.rstrip("\n").split("\t" if "\t" in line else " ")


def query_of(line: str) -> str:
    """The query of a line as ``append_run`` writes it, which may be cut off behind it."""
    return line.split("\t" if "\t" in line else " ", 1)[0]


def append_run(stream: TextIO, run: Run, tag: str = "encloze") -> None:
    """Write more queries of a run, best documents first."""
    for query, scores in run.items():
        for rank, (document, score) in enumerate(best(scores, len(scores)).items(), 1):
            # repr keeps every digit, so a ranking read back has the same ties as the one written.
            between = " " if query.split() == [query] and document.split() == [document] else "\t"
            stream.write(between.join((query, "Q0", document, str(rank), repr(score), tag)) + "\n")
