"""Search in postings lists: the documents with the highest sums of term weights.

A search is exact, but does not read every postings list (MaxScore: Turtle and Flood, 1995, "Query evaluation:
strategies and optimizations"). The terms of a query are processed from the one that can add most to a score to the one
that can add least. As soon as the remaining terms together cannot bring a new document among the best, only documents
found so far that can still be among the best are looked up in their lists, which are the longest ones in texts.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any

import numpy as np

from encloze.data.records import SearchResults
from encloze.search.postings import CHUNK_SIZE, Postings

QueryTerms = Sequence[tuple[int, float]]
"""Term numbers of a query with their weights."""

_ROUNDING = 1e-4
"""Upper bound of the relative error of sums in float32."""

_MIN_QUERIES = 32
"""Number of queries of an index from which numba and scipy are used: their imports take .5 and .15 seconds."""
_QUERIES_PER_THREAD = 64
_DENSE = 8
"""If one in this many documents contains a term, the scores of all documents are computed."""
_PART = 64
"""Number of scores of which the maximum is computed, to find the best ones without sorting all."""
_MIN_SKIPPED = 10_000
"""Number of postings that must be skipped to make up for the cost of looking up candidates with numpy."""
_LOOKUP_COST = 30
"""Time to look up a document in a postings list, relative to the time to add one posting."""


class PostingsSearcher:
    """Searcher that scores documents by the inner product of the query's and the document's term weights."""

    def __init__(self, postings: Postings, num_documents: int, length_norms: np.ndarray | None = None) -> None:
        """Create a searcher.

        Args:
            postings: The postings lists.
            num_documents: Number of documents of the index.
            length_norms: For BM25, a number above or equal to 0 for each document: float32, (documents,). The weight of
                a term that occurs ``tf`` times in a document is ``tf / (tf + length_norm)``. Without it, the values of
                the postings are weights.
        """
        self._postings, self._num_documents, self._length_norms = postings, num_documents, length_norms
        self._num_searched, self._free_buffers = 0, list[tuple[np.ndarray, np.ndarray]]()
        self._highest_weights = dict[int, float]()

    def search(self, queries: Sequence[QueryTerms], depth: int, allowed: np.ndarray | None = None) -> SearchResults:
        """Return the ``depth`` best documents of each query; documents that score 0 or less are not returned.

        Args:
            queries: The terms of each query.
            depth: Maximum number of documents per query.
            allowed: Which documents may be returned: bool, (documents,). All by default.
        """
        shape = len(queries), min(depth, self._num_documents)
        results = SearchResults(np.full(shape, -1, np.int64), np.zeros(shape, np.float32))
        if not results.numbers.size:
            return results
        self._num_searched += len(queries)
        rows = list(range(len(queries)))
        if allowed is not None:
            rows = self._look_up_allowed(queries, np.flatnonzero(allowed).astype(np.int32), results)
        compiled = _compiled_search() if self._num_searched >= _MIN_QUERIES else None
        if compiled:
            found = SearchResults(results.numbers[rows], results.scores[rows])
            self._search_compiled(compiled, [queries[row] for row in rows], found, allowed)
            results.numbers[rows], results.scores[rows] = found
        else:
            for row in rows:
                _write_best(results, row, *self._candidates(queries[row], shape[1], allowed))
        return results

    def _look_up_allowed(self, queries: Sequence[QueryTerms], allowed: np.ndarray, results: SearchResults) -> list[int]:
        """Score the documents ``allowed`` for the queries for which this is cheaper than a search.

        Write the best ones to ``results``. Return the rows of the other queries.
        """
        others, offsets = list[int](), self._postings.offsets
        for row, query in enumerate(queries):
            num_postings = sum(int(offsets[term + 1] - offsets[term]) for term, _ in query)
            if len(allowed) * len(query) * _LOOKUP_COST < num_postings:
                scores = self._completed(np.zeros(len(allowed), np.float32), allowed, self._ordered(query))
                _write_best(results, row, allowed, scores)
            else:
                others.append(row)
        return others

    def _search_compiled(
        self, search: Any, queries: Sequence[QueryTerms], results: SearchResults, allowed: np.ndarray | None
    ) -> None:
        """Write the best documents to ``results``, in one thread for each processor if there are many queries."""
        starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])]).astype(np.int64)
        ordered = [term for query in queries for term in self._ordered(query)]
        terms = np.array([term for term, _, _ in ordered], np.int64)
        weights = np.array([weight for _, weight, _ in ordered], np.float32)
        bounds = np.array([bound for _, _, bound in ordered], np.float64)
        postings = (np.asarray(self._postings.offsets), np.asarray(self._postings.documents), self._all_weights)
        mask = np.empty(0, np.bool_) if allowed is None else allowed

        def run(first: int, last: int) -> None:
            try:
                buffers = self._free_buffers.pop()
            except IndexError:  # all are in use by other threads
                buffers = np.zeros(self._num_documents, np.float32), np.empty(self._num_documents + 1, np.int32)
            part = results.numbers[first:last], results.scores[first:last]
            search(*postings, starts[first : last + 1], terms, weights, bounds, _ROUNDING, *buffers, mask, *part)
            self._free_buffers.append(buffers)  # the first one contains zeros again

        threads = min(os.cpu_count() or 1, len(queries) // _QUERIES_PER_THREAD)
        if threads < 2:
            run(0, len(queries))
        else:
            limits = np.linspace(0, len(queries), threads + 1).astype(int).tolist()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, limits[:-1], limits[1:]))

    @cached_property
    def _all_weights(self) -> np.ndarray:
        """The weights of all postings: for BM25 and float16, an array in memory, of 4 bytes for each posting."""
        _, documents, values = self._postings
        if self._length_norms is None:  # numba knows no float16
            return values.astype(np.float32) if values.dtype == np.float16 else np.asarray(values)
        weights = np.empty(len(values), np.float32)
        for start in range(0, len(weights), CHUNK_SIZE):
            part = slice(start, start + CHUNK_SIZE)
            weights[part] = self._weights(documents[part], values[part])
        return weights

    def _weights(self, documents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the weights of a term in documents, from the values of its postings: float32."""
        if self._length_norms is None:
            return values.astype(np.float32, copy=False)
        weights: np.ndarray = values / (values + self._length_norms[documents])
        return weights

    def _ordered(self, query: QueryTerms) -> list[tuple[int, float, float]]:
        """Return the terms of a query, their weights, and the most that they can add to a score; highest first.

        All scores are sums in this order, so that they are the same however they are computed. A term whose weights
        are not all above 0 comes first, with infinity.
        """
        with_bounds = [(term, weight, self._bound(term, weight)) for term, weight in query]
        return sorted(with_bounds, key=lambda term: (-term[2], term[0]))

    def _bound(self, term: int, weight: float) -> float:
        if self._length_norms is not None:
            return weight if weight > 0 else np.inf
        if (highest := self._highest_weights.get(term)) is None:
            _, values = self._postings.of_term(term)
            highest = float(values.max(initial=0)) if (values > 0).all() else np.inf
            self._highest_weights[term] = highest
        return weight * highest if weight > 0 else np.inf

    def _candidates(self, query: QueryTerms, depth: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return different documents, the ``depth`` best ones of a query among them, and their scores.

        Unless a query has very many postings, the cost depends on their number, not on the number of documents: of the
        memory of ``np.zeros``, the operating system provides only the pages that are written.
        """
        terms, offsets = self._ordered(query), self._postings.offsets
        remaining = sum(int(offsets[term + 1] - offsets[term]) for term, _, _ in terms)
        sums, found = np.zeros(self._num_documents, np.float32), np.empty(0, np.int32)
        for place, (term, weight, bound) in enumerate(terms):
            documents, values = self._postings.of_term(term)
            is_dense = len(found) + len(documents) > self._num_documents // _DENSE and remaining > _MIN_SKIPPED
            if is_dense and (self._num_searched >= _MIN_QUERIES or "scipy.sparse" in sys.modules):
                sums = self._sums_of_all(terms)
                if allowed is not None:
                    sums *= allowed
                found = _highest(sums, depth)
                break
            if allowed is not None:
                kept = allowed[documents]
                documents, values = documents[kept], values[kept]
            before, added = sums[documents], weight * self._weights(documents, values)
            found = np.concatenate([found, documents[before == 0]])
            sums[documents] = before + added
            if np.isinf(bound):  # a document whose sum was 0 in between is there twice
                found = np.unique(found)
            remaining -= int(offsets[term + 1] - offsets[term])
            if remaining > len(found) + _MIN_SKIPPED:
                most = sum(bound for _, _, bound in terms[place + 1 :])
                candidates = _promising(sums[found], depth, most)
                if candidates is not None and len(candidates) * (len(terms) - place) < remaining:
                    found = np.sort(found[candidates])  # they are looked up faster in ascending order
                    return found, self._completed(sums[found], found, terms[place + 1 :])
        return found, sums[found]

    def _sums_of_all(self, terms: Sequence[tuple[int, float, float]]) -> np.ndarray:
        """Return the scores of all documents, computed as the product of a sparse matrix and the query."""
        from scipy.sparse import csc_array  # see _MIN_QUERIES

        lists = [self._postings.of_term(term) for term, _, _ in terms]
        weights = [self._weights(*of_term) for of_term in lists]
        documents = np.concatenate([documents for documents, _ in lists])
        starts = np.cumsum([0, *(len(values) for values in weights)])
        matrix = csc_array((np.concatenate(weights), documents, starts), (self._num_documents, len(terms)))
        sums: np.ndarray = matrix @ np.array([weight for _, weight, _ in terms], np.float32)
        return sums

    def _completed(self, scores: np.ndarray, candidates: np.ndarray, terms: Sequence[tuple[int, float, float]]) -> Any:
        """Add the weights of more terms to the scores of documents."""
        for term, weight, _ in terms:
            positions, values = self._postings.among(term, candidates)
            scores[positions] += weight * self._weights(candidates[positions], values)
        return scores

    def score(self, queries: Sequence[QueryTerms], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return, for each query, the scores of the documents in ``numbers``."""
        return [
            self._completed(np.zeros(len(candidates), np.float32), candidates, self._ordered(query))
            for query, candidates in zip(queries, numbers, strict=True)
        ]


def _promising(sums: np.ndarray, depth: int, most: float) -> np.ndarray | None:
    """Return the positions of the sums that can be among the ``depth`` highest after at most ``most`` is added to each.

    Return None if another document, whose sum is 0, can be among them.
    """
    limit = most * (1 + _ROUNDING)
    if len(sums) < depth or not sums.max(initial=0) > limit:
        return None
    lowest = np.partition(sums, -depth)[-depth] * (1 - _ROUNDING)
    return np.flatnonzero(sums >= lowest - limit) if lowest > limit else None


def _highest(sums: np.ndarray, depth: int) -> np.ndarray:
    """Return the positions of the ``depth`` highest sums above 0, and of some others."""
    maxima = np.maximum.reduceat(sums, np.arange(0, len(sums), _PART))  # as many sums as maxima are at least so high
    lowest = np.partition(maxima, -depth)[-depth] if len(maxima) > depth else 0
    return np.flatnonzero(sums >= lowest) if lowest > 0 else np.flatnonzero(sums > 0)


def _write_best(results: SearchResults, row: int, documents: np.ndarray, scores: np.ndarray) -> None:
    """Write the documents with the highest scores above 0 to a row of ``results``."""
    best = _top_k(scores, documents, results.numbers.shape[1])
    results.numbers[row, : len(best)], results.scores[row, : len(best)] = documents[best], scores[best]


def _top_k(scores: np.ndarray, documents: np.ndarray, k: int) -> np.ndarray:
    """Return the positions of the ``k`` highest scores above 0, highest first; equal scores by document number."""
    kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k]) if len(scores) > k else np.arange(len(scores))
    kept = kept[scores[kept] > 0]
    return kept[np.lexsort((documents[kept], -scores[kept]))[:k]]


@cache
def _compiled_search() -> Any:
    """Return the compiled search; None if numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    from encloze.search.compiled import search

    return search
