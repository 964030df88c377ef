"""Reading of relevance judgments in the layouts of TREC, MS MARCO and BEIR."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from encloze.data.lines import SEPARATORS, ErrorCollector, read_lines, split_columns, uncompressed_suffix
from encloze.data.records import Judgment
from encloze.errors import DataError

MAX_GRADE = 10_000
"""Largest absolute value of a grade. The memory of trec_eval grows with the largest grade of a query, and the time of
nDCG without cutoff with its square: 10,000 takes 0.05 seconds a query, and a million takes minutes."""

_COLUMNS = {3: (0, 1, 2), 4: (0, 2, 3)}
"""Places of query, document and grade by number of columns; of four, the second is TREC's iteration."""
_HEADER = (
    {"query-id", "query", "qid", "queryid", "topic", "topic-id"},
    {"corpus-id", "corpus", "document", "document-id", "doc", "doc-id", "docid", "docno", "pid", "passage-id"},
    {"score", "grade", "relevance", "rel", "label"},
)
_INTEGER = re.compile("[+-]?[0-9]{1,9}")


def read_qrels(file: Path, errors: ErrorCollector) -> Iterator[Judgment]:
    """Read a file of judgments.

    The columns are named by a header row (``query-id corpus-id score`` or similar words, in any order). Without a
    header row, they are known by their number: three are query, document and grade (BEIR); four are query, iteration,
    document and grade (TREC and MS MARCO). Columns are separated by tabs or, in lines without tabs, by blanks.

    Args:
        file: File of judgments, plain or gzipped.
        errors: Receives an error for each line with another number of columns, or whose grade is not an integer from
            -10,000 to 10,000.

    Yields:
        The judgments, in the order of the file.
    """
    size, places = 0, (0, 0, 0)
    for location, line in read_lines(file):
        columns = split_columns(line)
        if not size and (len(columns) in _COLUMNS or _header_places(columns)):
            size, header = len(columns), _header_places(columns)
            places = header or _COLUMNS[size]
            if header:
                continue
        if len(columns) != size:
            expected = f"{size} columns" if size else "3 columns (query, document, grade) or 4 (TREC)"
            errors.add(location, f"expected {expected}, found {len(columns)}. {SEPARATORS}")
            continue
        query, document, grade = (columns[place] for place in places)
        errors.location = location
        if (number := parse_grade(grade.strip(" "))) is None:
            errors.add(location, f"the grade must be an integer from {-MAX_GRADE:,} to {MAX_GRADE:,}, found {grade!r}")
        else:
            yield Judgment(query, document, number)


def is_qrels(file: Path) -> bool:
    """Return whether a file appears to contain judgments, by its first line.

    The first line of a ``.txt``, ``.md`` or ``.tsv`` file, which may also be a text or a table of documents, must be a
    header row or have ``0`` or ``Q0`` in the second of four columns.
    """
    try:
        columns = split_columns(next(read_lines(file), ("", ""))[1])
    except DataError:
        return False
    is_row = len(columns) in _COLUMNS and parse_grade(columns[-1].strip(" ")) is not None
    is_certain = uncompressed_suffix(file).lower() not in (".txt", ".md", ".markdown", ".tsv")
    has_iteration = len(columns) == 4 and columns[1] in ("0", "Q0")
    return _header_places(columns) is not None or (is_row and (is_certain or has_iteration))


def parse_grade(text: str) -> int | None:
    """Return a grade written in ASCII digits, with an optional sign; None if it is not an integer in the range."""
    is_integer = _INTEGER.fullmatch(text) is not None
    return number if is_integer and abs(number := int(text)) <= MAX_GRADE else None


def _header_places(columns: list[str]) -> tuple[int, int, int] | None:
    """Return the places of query, document and grade if ``columns`` are the words of a header row, else None."""
    words = [column.lower().lstrip("#").replace("_", "-") for column in columns]
    places = [next((n for n, word in enumerate(words) if word in names), -1) for names in _HEADER]
    return None if -1 in places else (places[0], places[1], places[2])
