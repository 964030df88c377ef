"""Candidates of queries: documents that at least one view (searched index) retrieves, scored by all views and fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.ids import DocumentIds
from encloze.data.records import Query, Representation, Run
from encloze.evaluation.latency import stage
from encloze.retrieval.views import View
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted

FUSION_DEPTH = 100
"""Number of top-ranked documents of each view that are fused; candidates below this rank in all views follow them."""
_QUERY_BATCH = 256
_PASSAGES_PER_SOURCE = 10
"""Number of passages that are searched for each source text to find, at least if fewer were too few."""


class CandidatePool(NamedTuple):
    """Candidates of one query: the documents that at least one view retrieved, scored by every view."""

    numbers: np.ndarray  # int64, candidates: document numbers
    scores: np.ndarray  # float32, views x candidates
    ranks: np.ndarray  # float64, views x candidates: from 1, infinite if a view did not find the candidate


def find_candidates(
    views: Sequence[View],
    queries: Sequence[str],
    depth: int = FUSION_DEPTH,
    fusion: Fusion | None = None,
    best: int = FUSION_DEPTH,
    allowed: np.ndarray | None = None,
) -> list[CandidatePool]:
    """Return the candidates of each query: the ``depth`` best documents of each view, scored by all views.

    Args:
        views: The views.
        queries: Texts of the queries.
        depth: Number of documents of each view.
        fusion: If it adds scores without normalization, more documents are retrieved where needed, so that the ``best``
            documents with the highest sums among all documents are candidates.
        best: Number of these documents, at most 100.
        allowed: Which documents may be candidates: bool, (documents,). All by default.
    """
    encoded = encode_for_views(views, queries) if queries else []
    pools: list[CandidatePool] = []
    with stage("index"), progress.task("Searching", len(queries), "queries") as bar:
        for start in range(0, len(queries), _QUERY_BATCH):
            rows = np.arange(start, min(start + _QUERY_BATCH, len(queries)))
            batch = [_rows_of(of_view, rows) for of_view in encoded]
            of_batch = _pools(views, batch, depth, allowed)
            if len(views) > 1 and isinstance(fusion, Weighted) and fusion.normalization == "none":
                _complete(of_batch, views, batch, depth, fusion, min(best, FUSION_DEPTH), allowed)
            pools += of_batch
            bar.advance(len(of_batch))
    return pools


def of_enough_sources(
    pools: Sequence[CandidatePool],
    views: Sequence[View],
    queries: Sequence[str],
    corpus: Corpus,
    fusion: Fusion,
    count: int,
    allowed: np.ndarray | None,
) -> list[CandidatePool]:
    """Return candidates of each query that are passages of at least ``count`` source texts, as far as there are.

    Args:
        pools: The candidates found so far. Where they are of too few source texts, more are searched.
        views: The views.
        queries: Texts of the queries.
        corpus: The documents.
        fusion: Combines the scores of the views.
        count: Number of source texts.
        allowed: Which documents may be candidates: bool, (documents,). All by default.
    """
    complete, depth = list(pools), max((len(pool.numbers) for pool in pools), default=0)
    rows = list(range(len(pools)))
    while depth < len(corpus):
        rows = [row for row in rows if len(set(corpus.sources_of(complete[row].numbers))) < count]
        if not rows:
            break
        depth = max(10 * depth, count * _PASSAGES_PER_SOURCE)
        deeper = find_candidates(views, [queries[row] for row in rows], depth, fusion, count, allowed)
        for row, pool in zip(rows, deeper, strict=True):
            complete[row] = pool
    return complete


def _complete(
    pools: list[CandidatePool],
    views: Sequence[View],
    queries: list[Any],
    depth: int,
    fusion: Weighted,
    best: int,
    allowed: np.ndarray | None,
) -> None:
    """Replace the candidates of queries in which a document with a high sum of scores may be missing.

    A document that no view retrieved has, in each view, at most the score of the last retrieved document. If the sum of
    these scores is not above the sum of the k-th best candidate, no better document is missing (the threshold algorithm
    of Fagin, Lotem and Naor, PODS 2001). Otherwise more documents are retrieved.
    """
    rows = np.arange(len(pools))
    while True:
        rows = np.array([row for row in rows if not _is_complete(pools[row], views, depth, fusion, best)], np.int64)
        if not len(rows):
            return
        depth *= 4
        deeper = _pools(views, [_rows_of(of_view, rows) for of_view in queries], depth, allowed)
        for row, pool in zip(rows, deeper, strict=True):
            pools[row] = pool


def _is_complete(pool: CandidatePool, views: Sequence[View], depth: int, fusion: Weighted, best: int) -> bool:
    """Return whether the ``best`` documents with the highest sums of all documents are certainly in the pool."""
    bounds = np.zeros((len(views), 1))  # a document without any term of the query has the score 0
    for row, (view, scores, ranks) in enumerate(zip(views, pool.scores, pool.ranks, strict=True)):
        found = np.isfinite(ranks)
        if found.sum() == depth:
            bounds[row] = scores[found].min()
        elif view.index.input_type == "dense":
            return True  # all documents that may be returned are in the pool
    sums = np.sort(fusion.fuse(pool.scores.astype(np.float64), pool.ranks))
    return bool(len(sums) >= best and sums[-best] >= fusion.fuse(bounds, bounds)[0]) or not bounds.any()


def encode_for_views(views: Sequence[View], queries: Sequence[str]) -> list[Any]:
    """Return the queries as each view needs them: as texts, or encoded. An encoder of several views runs only once."""
    encoders = {id(view.encoder): view.encoder for view in views if view.encoder}
    encoded = dict[int, Representation]()
    for key, encoder in encoders.items():
        with stage("encoder"):
            encoded[key] = encoder.similarity.for_inner_products(encoder.represent_queries(queries))
    return [encoded.get(id(view.encoder), queries) for view in views]


def fused_order(pool: CandidatePool, fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the candidates of a query, best first (int64), and their fused scores (float64).

    The best hits do not depend on the number of candidates: the candidates that are among the 100 best of at least one
    view are fused first; all others are fused separately and follow with lower scores. Sums of scores without
    normalization need no such order.
    """
    with stage("fusion"):
        return _fused_order(pool, fusion)


def _fused_order(pool: CandidatePool, fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    scores = pool.scores.astype(np.float64)
    if len(scores) == 1:
        return np.arange(len(pool.numbers)), scores[0]
    if isinstance(fusion, Weighted) and fusion.normalization == "none":
        fused = fusion.fuse(scores, pool.ranks)
        return np.argsort(-fused, kind="stable"), fused
    is_fused = (pool.ranks <= FUSION_DEPTH).any(axis=0)
    ranks = np.where(pool.ranks <= FUSION_DEPTH, pool.ranks, np.inf)
    fused = np.empty(len(pool.numbers))
    fused[is_fused] = fusion.fuse(scores[:, is_fused], ranks[:, is_fused])
    if not is_fused.all():
        deeper = fusion.fuse(scores[:, ~is_fused], pool.ranks[:, ~is_fused])
        fused[~is_fused] = deeper - deeper.max() + fused[is_fused].min() - 1
    return np.argsort(-fused, kind="stable"), fused


def fused_run(
    queries: Sequence[Query], pools: Sequence[CandidatePool], ids: DocumentIds, fusion: Fusion, depth: int = 100
) -> Run:
    """Return the ``depth`` best candidates of each query with their fused scores, as a run.

    Args:
        queries: The queries.
        pools: The candidates of each query.
        ids: The id of each document of the collection, by document number.
        fusion: Combines the scores of the views.
        depth: Number of documents for each query.
    """
    numbers, scores = list[np.ndarray](), list[list[float]]()
    for pool in pools:
        order, fused = fused_order(pool, fusion)
        numbers.append(pool.numbers[order[:depth]])
        scores.append(fused[order[:depth]].tolist())
    names = iter(ids.take(np.concatenate(numbers))) if numbers else iter(())
    return {
        query.id: {next(names): score for score in of_query} for query, of_query in zip(queries, scores, strict=True)
    }


def _pools(views: Sequence[View], queries: list[Any], depth: int, allowed: np.ndarray | None) -> list[CandidatePool]:
    results = [view.index.search(batch, depth, allowed) for view, batch in zip(views, queries, strict=True)]
    found = [[numbers[numbers >= 0] for numbers in result.numbers] for result in results]  # by view and query
    if len(views) == 1:
        scores = [row[: len(numbers)] for row, numbers in zip(results[0].scores, found[0], strict=True)]
        return [
            CandidatePool(numbers, row[None], np.arange(1.0, len(numbers) + 1)[None])
            for numbers, row in zip(found[0], scores, strict=True)
        ]
    candidates = [np.unique(np.concatenate(of_query)) for of_query in zip(*found, strict=True)]
    scored = [view.index.score(batch, candidates) for view, batch in zip(views, queries, strict=True)]
    pools = []
    for row, numbers in enumerate(candidates):
        ranks = np.full((len(views), len(numbers)), np.inf)
        for view, of_view in enumerate(found):
            ranks[view, np.searchsorted(numbers, of_view[row])] = np.arange(1, len(of_view[row]) + 1)
        pools.append(CandidatePool(numbers, np.stack([scores[row] for scores in scored]), ranks))
    return pools


def _rows_of(queries: Any, rows: np.ndarray) -> Any:
    """Return the queries at the positions ``rows``; queries are a list of texts, or their ``Representation``."""
    if not isinstance(queries, Representation):
        return [queries[row] for row in rows]
    return Representation(*(None if view is None else view[rows] for view in queries))
