"""Exact inner products of queries with embeddings in a memory-mapped file, of all documents or of allowed ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.npy_files import all_finite, damaged, map_array
from encloze.search.segment import Segment
from encloze.storage.verified import check_once

EMBEDDINGS = "embeddings.npy"
"""File of the embeddings in the folder of an index."""
_ROWS = 4096
"""Allowed rows that are copied into memory at a time."""
_MIN_RATIO, _MAX_QUERIES = 0.2, 4
"""If at least this fraction is allowed and the queries are few, the best of all documents are filtered, which is faster
than copying the allowed rows."""


def open_embeddings(folder: Path) -> np.ndarray:
    """Return the embeddings of an index as a read-only memory map: float32, ``(documents, dim)``.

    Raises:
        CheckpointError: The file is missing or damaged, or contains infinite numbers or NaN.
    """
    file = folder / EMBEDDINGS
    embeddings = map_array(file, np.float32, dims=2)

    def check() -> None:
        if not all_finite(embeddings):
            raise damaged(file, "it contains infinite numbers or NaN")

    check_once("finite embeddings", [file], check)
    return embeddings


def require_dense(texts_or_views: Iterable[str] | Representation, index: str, dim: int | None = None) -> np.ndarray:
    """Return the embeddings of a representation as a contiguous float32 array.

    Args:
        texts_or_views: The representation.
        index: Name of the index with its article, for messages: ``a flat``.
        dim: Number of dimensions that the embeddings must have; None if any number is allowed.

    Raises:
        TypeError: Texts were given, or a representation without embeddings.
        ValueError: The embeddings have another number of dimensions.
    """
    if not isinstance(texts_or_views, Representation) or texts_or_views.dense is None:
        raise TypeError(f"{index} index takes a Representation with dense embeddings. Encode the texts first")
    embeddings = np.ascontiguousarray(texts_or_views.dense, np.float32)
    if dim is not None and embeddings.shape[1:] != (dim,):
        raise ValueError(
            f"the embeddings have {embeddings.shape[-1]} dimensions, those of the index {dim}. Encode the texts with "
            "the model that built the index"
        )
    return embeddings


def count_allowed(allowed: np.ndarray | None, num_documents: int) -> int:
    """Return the number of documents that a search may return.

    Raises:
        ValueError: ``allowed`` is not a boolean array with one value per document.
    """
    if allowed is None:
        return num_documents
    if allowed.dtype != np.bool_ or allowed.shape != (num_documents,):
        raise ValueError(
            f"allowed must be a bool array of shape ({num_documents},), not {allowed.dtype} of shape {allowed.shape}"
        )
    return int(np.count_nonzero(allowed))


def search_exactly(
    queries: np.ndarray, embeddings: np.ndarray, depth: int, allowed: np.ndarray | None = None
) -> SearchResults:
    """Return the documents with the highest inner products, best first.

    Args:
        queries: Embeddings of the queries, float32, ``(queries, dim)``.
        embeddings: Embeddings of the documents, float32, ``(documents, dim)``; may be memory-mapped.
        depth: Maximum number of documents per query.
        allowed: Which documents may be returned, bool, ``(documents,)``; all by default. At most a few thousand rows
            of the allowed documents are copied into memory at a time.

    Returns:
        Document numbers and scores, each ``(queries, k)``, with k the smaller of ``depth`` and the number of allowed
        documents.

    Raises:
        ValueError: ``allowed`` is not a boolean array with one value per document.

    Example:
        >>> embeddings = np.eye(3, dtype=np.float32)
        >>> search_exactly(embeddings[:1], embeddings, 2, np.array([False, True, True])).numbers
        array([[1, 2]])
    """
    import faiss

    k = min(depth, count_allowed(allowed, len(embeddings)))
    if allowed is None:
        scores, numbers = faiss.knn(queries, embeddings, k, metric=faiss.METRIC_INNER_PRODUCT)
        return SearchResults(numbers, scores)
    if k and len(queries) <= _MAX_QUERIES and allowed.mean() >= _MIN_RATIO:
        return _filter_best(queries, embeddings, k, allowed)
    return _search_rows(queries, embeddings, k, np.flatnonzero(allowed))


def score_exactly(queries: np.ndarray, embeddings: np.ndarray, numbers: list[np.ndarray]) -> list[np.ndarray]:
    """Return the inner products of each query with the documents of its entry in ``numbers``."""
    return [embeddings[candidates] @ query for query, candidates in zip(queries, numbers, strict=True)]


def _filter_best(queries: np.ndarray, embeddings: np.ndarray, k: int, allowed: np.ndarray) -> SearchResults:
    """Return the k best allowed documents: those among the best of all documents, if they are at least k."""
    import faiss

    depth = min(len(allowed), math.ceil(2 * k / allowed.mean()) + 16)
    scores, numbers = faiss.knn(queries, embeddings, depth, metric=faiss.METRIC_INNER_PRODUCT)
    is_allowed = allowed[numbers]
    first = np.lexsort((numbers, -scores, ~is_allowed), axis=1)[:, :k]
    results = SearchResults(np.take_along_axis(numbers, first, 1), np.take_along_axis(scores, first, 1))
    has_few = is_allowed.sum(axis=1) < k
    if has_few.any():
        exact = _search_rows(queries[has_few], embeddings, k, np.flatnonzero(allowed))
        results.numbers[has_few], results.scores[has_few] = exact
    return results


def _search_rows(queries: np.ndarray, embeddings: np.ndarray, k: int, rows: np.ndarray) -> SearchResults:
    """Return the k best documents of each query among the documents ``rows``, which are copied in parts."""
    import faiss

    best = SearchResults(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        scores, positions = faiss.knn(queries, embeddings[part], min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        best = best_of(np.hstack([best.numbers, part[positions]]), np.hstack([best.scores, scores]), k)
    return best


def best_of(numbers: np.ndarray, scores: np.ndarray, depth: int) -> SearchResults:
    """Return the ``depth`` best of the listed documents of each query: by score, equal scores by document number.

    Args:
        numbers: Document numbers: int64, (queries, listed); -1 for none.
        scores: Their scores: float32, (queries, listed).
        depth: Maximum number of documents per query.
    """
    order = np.lexsort((numbers, np.where(numbers < 0, np.inf, -scores)), axis=1)[:, :depth]
    return SearchResults(np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1))


def read_embeddings(segment: Segment) -> Iterator[Representation]:
    """Yield the embeddings in a segment of the documents that have not been deleted, in their order."""
    embeddings = open_embeddings(segment.folder)
    rows = np.arange(len(embeddings)) if segment.live is None else np.flatnonzero(segment.live)
    for start in range(0, len(rows), _ROWS):
        yield Representation(dense=embeddings[rows[start : start + _ROWS]])
