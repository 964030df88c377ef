"""Search with approximate nearest neighbors as candidates, which are rescored with exact inner products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.exact_dense import count_allowed, require_dense, score_exactly, search_exactly
from encloze.search.indexes._storage import load_faiss

MAX_EXACT = 10_000
"""If at most this number of documents may be returned, they are searched exactly, which is faster."""
_MAX_CANDIDATE_RATIO = 0.1
"""If more than this fraction of the documents would be candidates, the search is exact."""

SearchParameters = Callable[[float, Any], Any]
"""Function that returns search parameters of FAISS. Its arguments are the fraction of the documents that may be
returned, from 0 to 1, and a ``faiss.IDSelector`` of these documents, or None if all may be returned."""


class ApproximateSearcher:
    """Searcher that rescores the candidates of a FAISS index with exact inner products."""

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def __init__(
        self,
        name: str,
        embeddings: np.ndarray,
        index: Any,
        parameters: SearchParameters,
        rescoring: float,
        stored_dim: int | None = None,
    ) -> None:
        """Create a searcher.

        Args:
            name: Name of the index with its article, for messages: ``an ivf``.
            embeddings: The embeddings, float32, ``(documents, dim)``; may be memory-mapped.
            index: FAISS index of the embeddings; None if every search is exact.
            parameters: Function that returns the search parameters of FAISS.
            rescoring: Number of candidates per returned document.
            stored_dim: Number of first dimensions in the FAISS index; by default all.
        """
        self._name, self._embeddings, self._index = name, embeddings, index
        self._parameters, self._rescoring, self._stored_dim = parameters, rescoring, stored_dim
        self.num_documents: int = embeddings.shape[0]
        self.dim: int | None = embeddings.shape[1]

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query embedding (see ``IndexSearcher.search``).

        Each query gets exactly as many documents as there are, up to ``depth``: a query for which FAISS finds fewer is
        searched exactly. Documents with the same score are ordered by number.

        Args:
            queries: Embeddings of the queries.
            depth: Maximum number of documents per query.
            allowed: Which documents may be returned, bool, ``(documents,)``; all by default. If they are few, the
                search is exact.

        Raises:
            TypeError: ``queries`` has no embeddings.
            ValueError: The number of dimensions differs from that of the index, or ``allowed`` is not a bool array with
                one value per document.
        """
        vectors = require_dense(queries, self._name, self.dim)
        num_allowed = count_allowed(allowed, self.num_documents)
        k = min(depth, num_allowed)
        num_candidates = math.ceil(self._rescoring * k)
        is_small = num_allowed <= MAX_EXACT and allowed is not None
        if self._index is None or not k or is_small or num_candidates > _MAX_CANDIDATE_RATIO * num_allowed:
            return search_exactly(vectors, self._embeddings, depth, allowed)
        numbers = self._candidates(vectors, num_candidates, allowed, num_allowed)
        return self._rescore(vectors, numbers, k, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the exact scores of the documents ``numbers`` for each query (see ``IndexSearcher.score``)."""
        return score_exactly(require_dense(queries, self._name, self.dim), self._embeddings, numbers)

    def _candidates(self, queries: np.ndarray, count: int, allowed: np.ndarray | None, num_allowed: int) -> np.ndarray:
        """Return the numbers of the candidates that FAISS finds, ``(queries, count)``; -1 where it finds fewer."""
        if allowed is None:
            parameters = self._parameters(1.0, None)
        else:
            bits = np.packbits(allowed, bitorder="little")
            parameters = self._parameters(num_allowed / self.num_documents, load_faiss().IDSelectorBitmap(bits))
        cut = np.ascontiguousarray(queries[:, : self._stored_dim])
        numbers: np.ndarray = self._index.search(cut, count, params=parameters)[1]
        return numbers

    def _rescore(
        self, queries: np.ndarray, candidates: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> SearchResults:
        """Return the k best candidates of each query by exact scores; queries with fewer are searched exactly."""
        results = SearchResults(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32))
        has_few = (candidates >= 0).sum(axis=1) < k
        for row in np.flatnonzero(~has_few):
            numbers = np.sort(candidates[row])  # so that a stable sort orders documents with the same score by number
            numbers = numbers[np.searchsorted(numbers, 0) :]
            scores = self._embeddings[numbers] @ queries[row]
            best = np.argsort(-scores, kind="stable")[:k]
            results.numbers[row], results.scores[row] = numbers[best], scores[best]
        if has_few.any():
            exact = search_exactly(queries[has_few], self._embeddings, k, allowed)
            results.numbers[has_few], results.scores[has_few] = exact
        return results
