"""Exact search over embeddings with FAISS, among all documents or only among some."""

from __future__ import annotations

import numpy as np

from encloze.data.records import SearchResults

_ROWS = 4096
"""Embeddings copied at a time: so few that they stay in the processor's cache."""


def search_exact(
    embeddings: np.ndarray, queries: np.ndarray, depth: int, allowed: np.ndarray | None = None
) -> SearchResults:
    """Return the documents with the highest inner products with each query.

    Args:
        embeddings: Embeddings of the documents: float32, (documents, dim).
        queries: Embeddings of the queries: float32, (queries, dim), contiguous.
        depth: Maximum number of documents per query.
        allowed: Which documents may be returned: bool, (documents,). All by default.
    """
    import faiss

    def search(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return faiss.knn(queries, part, min(depth, len(part)), metric=faiss.METRIC_INNER_PRODUCT)

    numbers, scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    if allowed is None and len(embeddings):
        scores, numbers = search(embeddings)
    elif allowed is not None:
        rows = np.flatnonzero(allowed)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            of_part, positions = search(embeddings[part])
            numbers, scores = np.hstack([numbers, part[positions]]), np.hstack([scores, of_part])
            numbers, scores = best_of(numbers, scores, depth)
    return SearchResults(numbers, scores)


def best_of(numbers: np.ndarray, scores: np.ndarray, depth: int) -> SearchResults:
    """Return the ``depth`` best of the listed documents of each query: by score, equal scores by document number.

    Args:
        numbers: Document numbers: int64, (queries, listed); -1 for none.
        scores: Their scores: float32, (queries, listed).
        depth: Maximum number of documents per query.
    """
    order = np.lexsort((numbers, np.where(numbers < 0, np.inf, -scores)))[:, :depth]
    return SearchResults(np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1))
