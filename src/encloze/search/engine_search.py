"""Searchers over the indexes of a collection in a search engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.errors import RecipeError
from encloze.search.bm25_statistics import Bm25Statistics
from encloze.search.engines.base import EngineCollection, EngineView, results_of

_QUERIES = 64  # queries in a request, whose results and vectors are in memory at once
_VECTORS = 4096


class EngineSearcher:
    """Searcher over embeddings or term weights in an engine.

    Attributes:
        input_type: ``dense`` or ``sparse``.
        dim: Number of dimensions, or of terms of the vocabulary.
    """

    def __init__(self, collection: EngineCollection, view: EngineView, dim: int) -> None:
        self._collection, self._view = collection, view
        self.input_type: Literal["text", "dense", "sparse"] = view.settings.input_type
        self.dim: int | None = dim

    @property
    def num_documents(self) -> int:
        """Number of documents in the engine."""
        return self._collection.count()

    @num_documents.setter
    def num_documents(self, value: int) -> None:
        raise AttributeError("the engine counts the documents")

    def search(self, queries: Sequence[str] | Representation, depth: int, allowed: Any = None) -> SearchResults:
        """Return the ``depth`` best documents of each query (see ``IndexSearcher.search``).

        Args:
            queries: The encoded queries.
            depth: Maximum number of documents per query.
            allowed: The filter in the language of the engine.

        Raises:
            RecipeError: More documents are wanted than the engine returns for a query.
        """
        return search_vectors(self._collection, self._view, self._vectors(queries), depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query (see ``IndexSearcher.score``)."""
        return score_vectors(self._collection, self._view, self._vectors(queries), numbers)

    def _vectors(self, queries: Sequence[str] | Representation) -> Any:
        vectors = getattr(queries, self.input_type, None)
        if vectors is None:
            raise TypeError(f"the index {self._view.name} takes a Representation with {self.input_type} vectors")
        return vectors


class EngineBm25Searcher:
    """BM25 searcher over term weights in an engine: the query has the inverse document frequencies as weights.

    Args:
        collection: The collection.
        view: The index.
        statistics: Document frequencies of the terms, and the analyzer.
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "text"

    def __init__(self, collection: EngineCollection, view: EngineView, statistics: Bm25Statistics) -> None:
        self._collection, self._view, self._statistics = collection, view, statistics
        self.num_documents: int = statistics.num_documents
        self.dim: int | None = None

    def search(self, queries: Sequence[str] | Representation, depth: int, allowed: Any = None) -> SearchResults:
        """Return the ``depth`` best documents of each query text (see ``EngineSearcher.search``)."""
        weights = self._statistics.query_weights([self.count(query) for query in _texts(queries)])
        return search_vectors(self._collection, self._view, weights, depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query text (see ``IndexSearcher.score``)."""
        return self.score_terms([self.count(query) for query in _texts(queries)], numbers)

    def score_terms(self, queries: Sequence[Mapping[str, float]], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query. A query is a mapping of terms to weights."""
        return score_vectors(self._collection, self._view, self._statistics.query_weights(queries), numbers)

    def count(self, text: str) -> Counter[str]:
        """Return how often each term occurs in a text."""
        return self._statistics.count(text)


def search_vectors(
    collection: EngineCollection, view: EngineView, queries: Any, depth: int, where: Any
) -> SearchResults:
    """Return the ``depth`` best documents of each query vector, of sparse ones only those with a score above 0."""
    rows = np.arange(queries.shape[0])
    if view.dim is None:  # an engine rejects queries without terms, which find nothing
        queries = queries.copy()
        queries.eliminate_zeros()
        rows = np.flatnonzero(np.diff(queries.indptr))
    found: list[list[tuple[int, float]]] = [[] for _ in range(queries.shape[0])]
    asked = min(depth, collection.max_depth)
    for start in range(0, len(rows), _QUERIES):
        batch = rows[start : start + _QUERIES]
        results = collection.search(view, queries[batch], asked, where)
        for row, numbers, scores in zip(batch.tolist(), results.numbers, results.scores, strict=True):
            kept = (numbers >= 0) & ((scores > 0) if view.dim is None else True)
            found[row] = list(zip(numbers[kept].tolist(), scores[kept].tolist(), strict=True))
            if depth > asked and int((numbers >= 0).sum()) >= asked:
                message = f"the engine returns at most {asked:,} documents for a query, and {depth:,} are wanted"
                raise RecipeError("the search", [("depth", f"{message}. Set k, depth or rerank_depth lower")])
    return results_of(found)


def score_vectors(
    collection: EngineCollection, view: EngineView, queries: Any, numbers: list[np.ndarray]
) -> list[np.ndarray]:
    """Return the inner products of query vectors with those of documents, which are read from the engine."""
    scores = list[np.ndarray]()
    for start in range(0, len(numbers), _QUERIES):
        part = numbers[start : start + _QUERIES]
        wanted = np.unique(np.concatenate([np.empty(0, np.int64), *part]))
        of_part = [np.zeros(len(of_query), np.float32) for of_query in part]
        for first in range(0, len(wanted), _VECTORS):
            chunk = wanted[first : first + _VECTORS]
            vectors = collection.vectors(view, chunk, queries.shape[1])
            for row, of_query in enumerate(part):
                places = np.flatnonzero((of_query >= chunk[0]) & (of_query <= chunk[-1]))
                documents = vectors[np.searchsorted(chunk, of_query[places])]
                query = queries[start + row]
                if view.dim is None:
                    products = (documents @ query.T).toarray()[:, 0]
                else:
                    products = documents @ np.asarray(query, np.float32)
                of_part[row][places] = products
        scores += of_part
    return scores


def _texts(queries: Sequence[str] | Representation) -> Sequence[str]:
    if isinstance(queries, (Representation, str)):
        raise TypeError(f"a bm25 index takes a list of texts, not a {type(queries).__name__}")
    return queries
