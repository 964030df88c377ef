"""TREC run files: written in batches of queries, so that writing can be resumed, and read query by query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from encloze import progress
from encloze.data.records import Query, Run
from encloze.data.runs import append_run, split_run_line
from encloze.errors import StorageError
from encloze.storage.json_files import explain_damage
from encloze.storage.resumable_file import is_complete, open_resumable_file


def write_rankings(
    file: Path,
    queries: Sequence[Query],
    rank: Callable[[Sequence[Query]], Run],
    *,
    batch_size: int,
    tag: str = "encloze",
    title: str = "",
) -> None:
    """Rank queries in batches and write the rankings to a run file, in the order of the queries.

    If an earlier call was interrupted, a call with the same arguments continues after its last complete batch. A
    complete file is not changed.

    Args:
        file: Run file to write.
        queries: Queries to rank.
        rank: Function from a batch of queries to their rankings: scores by query id and document id. It may leave out
            queries without results.
        batch_size: Number of queries per call of ``rank``. An interruption loses at most one batch.
        tag: Name of the system, written in the last column of the run file.
        title: Title of the progress bar; if it is empty, no progress bar is shown.

    Example:
        >>> queries = [Query("q1", "rivers"), Query("q2", "engines")]
        >>> write_rankings(file, queries, lambda batch: {query.id: {"d1": 1.0} for query in batch}, batch_size=1)
        >>> list(iterate_rankings(file, queries))
        [['d1'], ['d1']]
    """
    if is_complete(file):
        return
    with open_resumable_file(file) as output:
        bar = progress.task(title, len(queries), "queries", completed=output.num_done) if title else nullcontext()
        with bar as task:
            while batch := queries[output.num_done : output.num_done + batch_size]:
                run = rank(batch)
                append_run(output.stream, {query.id: run.get(query.id, {}) for query in batch}, tag)
                output.commit(len(batch))
                if task is not None:
                    task.advance(len(batch))


def iterate_rankings(file: Path, queries: Sequence[Query]) -> Iterator[list[str]]:
    """Yield the ranking of each query, one at a time, from a file that ``write_rankings`` wrote.

    Args:
        file: Run file whose queries are in the order of ``queries``.
        queries: Queries of the file. A query without a line in the file has an empty ranking.

    Yields:
        Document ids, best first.

    Raises:
        CheckpointError: A line of the file has another layout.
        StorageError: The file contains a query that is not in ``queries`` or is out of order.
    """
    with explain_damage(file), file.open(encoding="utf-8") as stream:
        groups = groupby((split_run_line(line, 3) for line in stream), key=itemgetter(0))
        query_id, lines = next(groups, ("", iter(())))
        for query in queries:
            if query_id != query.id:
                yield []
                continue
            yield [columns[2] for columns in lines]
            query_id, lines = next(groups, ("", iter(())))
    if query_id:
        raise StorageError(f"{file} is damaged: query {query_id!r} is out of order. Start over with --overwrite")
