"""Files of queries without judgments: plain text, tables and JSON Lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from encloze import progress
from encloze.data.delimited import read_queries
from encloze.data.lines import ErrorCollector, read_json_lines, read_lines, required_text, uncompressed_suffix
from encloze.data.records import Query
from encloze.errors import DataError


def text_id(text: str) -> str:
    """Return an id of a query that depends on its text only.

    Example:
        >>> text_id("where do rivers end")
        'e3858605dff85da4'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_query_file(file: Path) -> list[Query]:
    """Read a file of queries, plain or gzipped.

    Args:
        file: ``.jsonl`` with the fields ``_id`` (or ``id``) and ``text`` (or ``query``); ``.tsv`` with columns of ids
            and texts; or text with a query in each line, whose ids are made from their texts. Repeated lines are read
            once.

    Raises:
        DataError: The file cannot be read, contains no query, or lines are malformed or have the same id.
    """
    errors, queries = ErrorCollector(), dict[str, Query]()
    kinds = {".jsonl": _from_json, ".tsv": read_queries}
    for query in kinds.get(uncompressed_suffix(file), _from_lines)(file, errors):
        errors.check_id("query", query.id, file.name)
        if query.id in queries:
            errors.add(errors.location or file.name, f"the query {query.text!r} has the id of an earlier one")
        queries[query.id] = query
    errors.raise_if_any()
    if not queries:
        raise DataError(f"{file} contains no query. Write one in each line")
    return list(queries.values())


def _from_json(file: Path, errors: ErrorCollector) -> Iterator[Query]:
    for location, row in read_json_lines(file, errors):
        id_ = required_text(row, ("_id", "id"), location, errors)
        text = required_text(row, ("text", "query"), location, errors)
        if id_ is not None and text is not None:
            yield Query(id_, text)


def _from_lines(file: Path, _: ErrorCollector) -> Iterator[Query]:
    texts = [" ".join(line.split()) for _, line in read_lines(file)]
    distinct = dict.fromkeys(texts)
    if repeated := len(texts) - len(distinct):
        progress.note(f"{file}: {repeated:,} repeated queries are read once")
    return (Query(text_id(text), text) for text in distinct)
