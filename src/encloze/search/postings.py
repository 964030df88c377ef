"""Postings lists on disk: for each term, the documents that contain it and a value (weight or frequency) for each."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from encloze.data.records import SearchResults
from encloze.search.npy_files import AppendableArray, all_finite, allocate_array, damaged, map_array
from encloze.storage.verified import check_once

CHUNK_SIZE = 2**18
"""Number of postings processed at a time; sorting them takes about 10 MB."""

_OFFSETS, _DOCUMENTS, _VALUES = "begins.npy", "documents.npy", "values.npy"
_DTYPES: dict[str, type[np.generic]] = {"documents": np.int32, "terms": np.int32, "values": np.float32}

QueryTerms = Sequence[tuple[int, float]]
"""Term numbers of a query with their weights."""

_MIN_COMPILED_QUERIES = 32
"""Number of queries of an index from which the compiled search is used: its import takes half a second."""
_QUERIES_PER_THREAD = 64


class Postings(NamedTuple):
    """Postings lists of all terms, stored one after another. Each list is in ascending order of document numbers."""

    offsets: np.ndarray  # int64, (terms + 1,): start of each term's list
    documents: np.ndarray  # int32, (postings,): document numbers
    values: np.ndarray  # float32, (postings,): values, not 0

    @classmethod
    def open(cls, folder: Path, num_documents: int, *, positive: bool = False) -> Self:
        """Memory-map the postings that ``PostingsWriter`` has written to ``folder``.

        Args:
            folder: The folder.
            num_documents: Number of documents of the index.
            positive: Whether all values must be above 0.

        Raises:
            CheckpointError: A file is missing or damaged, or the lists contain other documents.
        """
        offsets = np.array(map_array(folder / _OFFSETS, np.int64))  # in memory: each term of a query reads it
        documents, values = map_array(folder / _DOCUMENTS, np.int32), map_array(folder / _VALUES, np.float32)
        postings = cls(offsets, documents, values)
        files = [folder / name for name in (_OFFSETS, _DOCUMENTS, _VALUES)]
        name = f"{'positive ' * positive}postings of {num_documents} documents"
        check_once(name, files, lambda: postings.check(folder, num_documents, positive=positive))
        return postings

    def check(self, folder: Path, num_documents: int, *, positive: bool) -> None:
        """Raise CheckpointError if a number is out of its range or order (see ``open``). Reads all postings."""
        total = len(self.documents)
        is_complete = len(self.offsets) > 0 and self.offsets[0] == 0 and self.offsets[-1] == total == len(self.values)
        if not is_complete or (np.diff(self.offsets) < 0).any():
            raise damaged(folder / _OFFSETS, "the positions of the postings lists are wrong")
        if not all_finite(self.values):
            raise damaged(folder / _VALUES, "it contains infinite numbers or NaN")
        for start in range(0, total, CHUNK_SIZE):
            part = self.documents[start : start + CHUNK_SIZE + 1]  # with the first of the next chunk
            if positive and self.values[start : start + CHUNK_SIZE].min() <= 0:
                raise damaged(folder / _VALUES, "it contains values that are not above 0")
            if part.min() < 0 or part.max() >= num_documents:
                raise damaged(folder / _DOCUMENTS, f"it contains numbers of more than {num_documents} documents")
            descents = np.flatnonzero(np.diff(part) <= 0) + start + 1  # allowed where another list begins
            if (self.offsets[np.searchsorted(self.offsets, descents)] != descents).any():
                raise damaged(folder / _DOCUMENTS, "a postings list is not in ascending order")

    def of_term(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the document numbers and values in the postings list of a term."""
        part = slice(self.offsets[term], self.offsets[term + 1])
        return self.documents[part], self.values[part]

    def among(self, term: int, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions in ``candidates`` of the documents that contain a term, and its value in each."""
        documents, values = self.of_term(term)
        if not len(documents):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        insertion = np.searchsorted(documents, candidates).clip(max=len(documents) - 1)
        positions = np.flatnonzero(documents[insertion] == candidates)
        return positions, values[insertion[positions]]


class PostingsWriter:
    """Writer of postings lists. It writes postings to disk in the order of documents; ``finish`` sorts them by term."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns = {name: AppendableArray(folder / f"given-{name}", dtype) for name, dtype in _DTYPES.items()}
        self._counts = np.zeros(0, np.int64)  # (terms,): length of each list so far

    def add(self, documents: np.ndarray, terms: np.ndarray, values: np.ndarray) -> None:
        """Add postings: document numbers (ascending over all calls), term numbers, and values that are not 0."""
        for column, rows in zip(self._columns.values(), (documents, terms, values), strict=True):
            column.append(rows)
        size = max(len(self._counts), int(terms.max(initial=-1)) + 1)
        counts = np.bincount(terms, minlength=size)
        counts[: len(self._counts)] += self._counts
        self._counts = counts

    def finish(self, num_terms: int) -> None:
        """Sort the added postings by term, a chunk at a time, and write the postings lists of ``num_terms`` terms."""
        for column in self._columns.values():
            column.close()
        offsets = np.zeros(num_terms + 1, np.int64)
        offsets[1 : len(self._counts) + 1] = self._counts
        np.cumsum(offsets, out=offsets)
        np.save(self._folder / _OFFSETS, offsets)
        total, next_free = int(offsets[-1]), offsets[:-1].copy()
        files = [self._folder / f"given-{name}" for name in _DTYPES]
        columns = [map_array(file, dtype) for file, dtype in zip(files, _DTYPES.values(), strict=True)]
        documents = allocate_array(self._folder / _DOCUMENTS, np.int32, total)
        values = allocate_array(self._folder / _VALUES, np.float32, total)
        for start in range(0, total, CHUNK_SIZE):
            chunk_documents, chunk_terms, chunk_values = (np.asarray(c[start : start + CHUNK_SIZE]) for c in columns)
            order = np.argsort(chunk_terms, kind="stable")  # stable: the documents of a term stay in order
            sorted_terms = chunk_terms[order]
            distinct, first, counts = np.unique(sorted_terms, return_index=True, return_counts=True)
            positions = next_free[sorted_terms] + np.arange(len(order)) - np.repeat(first, counts)
            documents[positions], values[positions] = chunk_documents[order], chunk_values[order]
            next_free[distinct] += counts
        documents.flush()
        values.flush()
        for file in files:
            file.unlink()


class Bm25Weights(NamedTuple):
    """What turns the frequency of a term in a document into its BM25 weight ``idf * tf / (tf + length_norm)``."""

    idf: np.ndarray  # float32, (terms,)
    length_norms: np.ndarray  # float32, (documents,)


class PostingsSearcher:
    """Searcher that scores documents by the inner product of the query's and the document's term weights."""

    def __init__(self, postings: Postings, num_documents: int, bm25: Bm25Weights | None = None) -> None:
        """Create a searcher.

        Args:
            postings: The postings lists.
            num_documents: Number of documents of the index.
            bm25: How weights are computed from the values of the postings; None if the values are weights.
        """
        self._postings, self._num_documents, self._bm25 = postings, num_documents, bm25
        self._num_searched, self._free_sums = 0, list[np.ndarray]()

    def search(self, queries: Sequence[QueryTerms], depth: int) -> SearchResults:
        """Return the ``depth`` best documents of each query; documents that score 0 or less are not returned."""
        shape = len(queries), min(depth, self._num_documents)
        results = SearchResults(np.full(shape, -1, np.int64), np.zeros(shape, np.float32))
        self._num_searched += len(queries)
        compiled = _compiled_search() if self._num_searched >= _MIN_COMPILED_QUERIES else None
        if compiled:
            self._search_compiled(compiled, queries, results)
        else:
            for row, query in enumerate(queries):
                found, scores = self._scored(query)
                best = _top_k(scores, found, depth)
                results.numbers[row, : len(best)], results.scores[row, : len(best)] = found[best], scores[best]
        return results

    def _search_compiled(self, search: Any, queries: Sequence[QueryTerms], results: SearchResults) -> None:
        """Write the best documents to ``results``, in one thread for each processor if there are many queries."""
        lengths = [len(query) for query in queries]
        pairs = [pair for query in queries for pair in query]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        terms = np.array([term for term, _ in pairs], np.int64)
        weights = np.array([weight for _, weight in pairs], np.float32)
        postings = (np.asarray(self._postings.offsets), np.asarray(self._postings.documents), self._all_weights)

        def run(first: int, last: int) -> None:
            try:
                sums = self._free_sums.pop()
            except IndexError:  # all are in use by other threads
                sums = np.zeros(self._num_documents, np.float32)
            part = results.numbers[first:last], results.scores[first:last]
            search(*postings, starts[first : last + 1], terms, weights, sums, *part)
            self._free_sums.append(sums)  # zeros again

        threads = min(os.cpu_count() or 1, len(queries) // _QUERIES_PER_THREAD)
        if threads < 2:
            run(0, len(queries))
        else:
            bounds = np.linspace(0, len(queries), threads + 1).astype(int).tolist()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, bounds[:-1], bounds[1:]))

    @cached_property
    def _all_weights(self) -> np.ndarray:
        """The weights of all postings: for BM25, an array in memory, of 4 bytes for each posting."""
        offsets, documents, values = self._postings
        if self._bm25 is None:
            return np.asarray(values)
        weights = np.repeat(self._bm25.idf, np.diff(offsets))
        for start in range(0, len(weights), CHUNK_SIZE):
            part = slice(start, start + CHUNK_SIZE)
            weights[part] = weights[part] * values[part] / (values[part] + self._bm25.length_norms[documents[part]])
        return weights

    def _weights(self, term: int, documents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the weights of a term in documents, from the values of its postings."""
        if self._bm25 is None:
            return values
        weights: np.ndarray = self._bm25.idf[term] * values / (values + self._bm25.length_norms[documents])
        return weights

    def _scored(self, query: QueryTerms) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents that contain a term of a query, each once, and their scores.

        The cost depends on the number of postings, not of documents: of the memory of ``np.zeros``, the operating
        system provides only the pages that are written.
        """
        scores, found, are_positive = np.zeros(self._num_documents, np.float32), list[np.ndarray](), True
        for term, weight in query:
            documents, values = self._postings.of_term(term)
            added = weight * self._weights(term, documents, values)
            are_positive &= bool((added > 0).all())
            before = scores[documents]
            found.append(documents[before == 0])
            scores[documents] = before + added
        together = np.concatenate(found) if found else np.empty(0, np.int32)
        if not are_positive:  # a document whose score was 0 in between is there twice
            together = np.unique(together)
        return together, scores[together]

    def score(self, queries: Sequence[QueryTerms], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return, for each query, the scores of the documents in ``numbers``."""
        results = [np.zeros(len(candidates), np.float32) for candidates in numbers]
        for query, candidates, scores in zip(queries, numbers, results, strict=True):
            for term, weight in query:
                positions, values = self._postings.among(term, candidates)
                scores[positions] += weight * self._weights(term, candidates[positions], values)
        return results


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
