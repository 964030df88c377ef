"""Candidates of queries: documents that at least one view (searched index) retrieves, scored by all views and fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.records import Query, Representation, Run
from encloze.retrieval.views import View
from encloze.search.fusions.base import Fusion

FUSION_DEPTH = 100
"""Number of top-ranked documents of each view that are fused; candidates below this rank in all views follow them."""
_QUERY_BATCH = 256


class CandidatePool(NamedTuple):
    """Candidates of one query: the documents that at least one view retrieved, scored by every view."""

    numbers: np.ndarray  # int64, candidates: document numbers
    scores: np.ndarray  # float32, views x candidates
    ranks: np.ndarray  # float64, views x candidates: from 1, infinite if a view did not find the candidate


def find_candidates(views: Sequence[View], queries: Sequence[str], depth: int = FUSION_DEPTH) -> list[CandidatePool]:
    """Return the candidates of each query: the ``depth`` best documents of each view, scored by all views."""
    encoded = encode_for_views(views, queries) if queries else []
    pools: list[CandidatePool] = []
    with progress.task("Searching", len(queries), "queries") as bar:
        for start in range(0, len(queries), _QUERY_BATCH):
            batch = [_rows_of(of_view, slice(start, start + _QUERY_BATCH)) for of_view in encoded]
            pools += _pools(views, batch, depth)
            bar.advance(len(pools) - start)
    return pools


def encode_for_views(views: Sequence[View], queries: Sequence[str]) -> list[Any]:
    """Return the queries as each view needs them: as texts, or encoded. An encoder of several views runs only once."""
    encoders = {id(view.encoder): view.encoder for view in views if view.encoder}
    encoded = {
        key: encoder.similarity.for_inner_products(encoder.represent_queries(queries))
        for key, encoder in encoders.items()
    }
    return [encoded.get(id(view.encoder), queries) for view in views]


def fused_order(pool: CandidatePool, fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the candidates of a query, best first (int64), and their fused scores (float64).

    The candidates that are among the 100 best of at least one view are fused first. All other candidates are fused
    separately and follow with lower scores, so that the best hits do not depend on the number of candidates.
    """
    scores = pool.scores.astype(np.float64)
    if len(scores) == 1:
        return np.arange(len(pool.numbers)), scores[0]
    is_fused = (pool.ranks <= FUSION_DEPTH).any(axis=0)
    ranks = np.where(pool.ranks <= FUSION_DEPTH, pool.ranks, np.inf)
    fused = np.empty(len(pool.numbers))
    fused[is_fused] = fusion.fuse(scores[:, is_fused], ranks[:, is_fused])
    if not is_fused.all():
        deeper = fusion.fuse(scores[:, ~is_fused], pool.ranks[:, ~is_fused])
        fused[~is_fused] = deeper - deeper.max() + fused[is_fused].min() - 1
    return np.argsort(-fused, kind="stable"), fused


def fused_run(
    queries: Sequence[Query], pools: Sequence[CandidatePool], ids: Sequence[str], fusion: Fusion, depth: int = 100
) -> Run:
    """Return the ``depth`` best candidates of each query with their fused scores, as a run.

    Args:
        queries: The queries.
        pools: The candidates of each query.
        ids: The id of each document of the collection, by document number.
        fusion: Combines the scores of the views.
        depth: Number of documents for each query.
    """
    run: Run = {}
    for query, pool in zip(queries, pools, strict=True):
        order, scores = fused_order(pool, fusion)
        best = order[:depth]
        ranked = zip(pool.numbers[best].tolist(), scores[best].tolist(), strict=True)
        run[query.id] = {ids[number]: score for number, score in ranked}
    return run


def _pools(views: Sequence[View], queries: list[Any], depth: int) -> list[CandidatePool]:
    results = [view.index.search(batch, depth) for view, batch in zip(views, queries, strict=True)]
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


def _rows_of(queries: Any, part: slice) -> Any:
    """Return the queries at the positions ``part``; queries are a list of texts, or their ``Representation``."""
    if not isinstance(queries, Representation):
        return queries[part]
    return Representation(*(None if view is None else view[part] for view in queries))
