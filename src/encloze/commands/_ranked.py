"""Rankings of many queries in a file: made in parts, gone on with after a kill, and read a few queries at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query
from encloze.data.runs import append_run, fields, query_of
from encloze.errors import StorageError
from encloze.storage.disk import explain_write_errors
from encloze.systems.base import System

_QUERIES = 10_000  # ranked at a time: what memory holds, and what a kill may cost


def rank_into(file: Path, source: System, dataset: DatasetSplit, queries: Sequence[Query], depth: int) -> None:
    """Write what a source ranks for the queries, in their order; what a kill left of it is gone on with."""
    if file.exists():
        return
    partial = file.with_suffix(".partial")
    done = _whole(partial, queries) if partial.exists() else 0
    with source.ready(dataset) as ready, explain_write_errors(file), partial.open("a", encoding="utf-8") as stream:
        for start in range(done, len(queries), _QUERIES):
            part = queries[start : start + _QUERIES]
            run, _ = ready.run(part, depth)
            append_run(stream, {query.id: run.get(query.id, {}) for query in part})
            stream.flush()
    partial.replace(file)


def in_order(file: Path, queries: Sequence[Query]) -> Iterator[dict[str, float]]:
    """The ranking of each query in such a file, one at a time; an empty one where it has none."""
    with file.open(encoding="utf-8") as stream:
        groups = groupby(map(fields, stream), key=lambda row: row[0])
        name, rows = next(groups, ("", iter(())))
        for query in queries:
            if name != query.id:
                yield {}
                continue
            yield {document: float(score) for _, _, document, _, score, *_ in rows}
            name, rows = next(groups, ("", iter(())))
    if name:
        raise StorageError(f"{file} ranks {name!r}, which is not its place: it is damaged. Begin anew with --overwrite")


def _whole(partial: Path, queries: Sequence[Query]) -> int:
    """How many queries need not be ranked again: all before the last one in the file, which is cut off."""
    number_of, begin, last = {query.id: number for number, query in enumerate(queries)}, 0, None
    with partial.open("rb+") as stream:
        place = 0
        for line in stream:
            query = query_of(line.decode(errors="replace"))
            if line.endswith(b"\n") and query != last and query in number_of:
                begin, last = place, query
            place += len(line)
        stream.truncate(begin)
    return 0 if last is None else number_of[last]
