"""Postings lists on disk: for each term, the documents that contain it and a value (weight or frequency) for each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from encloze.search.npy_files import AppendableArray, all_finite, allocate_array, damaged, map_array
from encloze.storage.verified import check_once

CHUNK_SIZE = 2**18
"""Number of postings processed at a time; sorting them takes about 10 MB."""

_LEVELS = 255  # of values in uint8
_LARGEST_HALF = 65504.0  # the largest number in float16
_OFFSETS, _DOCUMENTS, _VALUES = "begins.npy", "documents.npy", "values.npy"
_DTYPES: dict[str, type[np.generic]] = {"documents": np.int32, "terms": np.int32, "values": np.float32}


class Postings(NamedTuple):
    """Postings lists of all terms, stored one after another. Each list is in ascending order of document numbers."""

    offsets: np.ndarray  # int64, (terms + 1,): start of each term's list
    documents: np.ndarray  # int32, (postings,): document numbers
    values: np.ndarray  # float32, float16 or uint8, (postings,): values, not 0

    @classmethod
    def open(
        cls, folder: Path, num_documents: int, *, positive: bool = False, dtype: type[np.generic] = np.float32
    ) -> Self:
        """Memory-map the postings that ``PostingsWriter`` has written to ``folder``.

        Args:
            folder: The folder.
            num_documents: Number of documents of the index.
            positive: Whether all values must be above 0.
            dtype: Type of the values.

        Raises:
            CheckpointError: A file is missing or damaged, or the lists contain other documents.
        """
        offsets = np.array(map_array(folder / _OFFSETS, np.int64))  # in memory: each term of a query reads it
        documents, values = map_array(folder / _DOCUMENTS, np.int32), map_array(folder / _VALUES, dtype)
        postings = cls(offsets, documents, values)
        files = [folder / name for name in (_OFFSETS, _DOCUMENTS, _VALUES)]
        name = f"{'positive ' * positive}{np.dtype(dtype)} postings of {num_documents} documents"
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

    def positions_of(self, first: int, end: int) -> np.ndarray:
        """Return the positions of all postings of the documents from ``first`` to ``end``: int64, ascending."""
        starts = range(0, len(self.documents), CHUNK_SIZE)
        parts = (self.documents[start : start + CHUNK_SIZE] for start in starts)
        found = [np.flatnonzero((part >= first) & (part < end)) + s for part, s in zip(parts, starts, strict=True)]
        return np.concatenate([np.empty(0, np.int64), *found])

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

    def __init__(self, folder: Path, dtype: type[np.generic] = np.float32) -> None:
        """Create the files of new postings lists in ``folder``, whose values are stored as ``dtype``.

        Values of uint8 are multiples of ``step``, which is set by ``finish``: a power of 2, so that lists can be merged
        without another loss, as long as it stays the same.
        """
        self._folder, self._dtype, self.step = folder, dtype, 1.0
        self._highest = 0.0
        self._columns = {name: AppendableArray(folder / f"given-{name}", dtype) for name, dtype in _DTYPES.items()}
        self._counts = np.zeros(0, np.int64)  # (terms,): length of each list so far

    def add(self, documents: np.ndarray, terms: np.ndarray, values: np.ndarray) -> None:
        """Add postings: document numbers (ascending over all calls), term numbers, and values that are not 0."""
        for column, rows in zip(self._columns.values(), (documents, terms, values), strict=True):
            column.append(rows)
        self._highest = max(self._highest, float(values.max(initial=0)))
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
        values = allocate_array(self._folder / _VALUES, self._dtype, total)
        if self._dtype is np.uint8 and self._highest > 0:
            self.step = 2.0 ** math.ceil(math.log2(self._highest / _LEVELS))
        for start in range(0, total, CHUNK_SIZE):
            chunk_documents, chunk_terms, chunk_values = (np.asarray(c[start : start + CHUNK_SIZE]) for c in columns)
            order = np.argsort(chunk_terms, kind="stable")  # stable: the documents of a term stay in order
            sorted_terms = chunk_terms[order]
            distinct, first, counts = np.unique(sorted_terms, return_index=True, return_counts=True)
            positions = next_free[sorted_terms] + np.arange(len(order)) - np.repeat(first, counts)
            documents[positions], values[positions] = chunk_documents[order], self._stored(chunk_values[order])
            next_free[distinct] += counts
        documents.flush()
        values.flush()
        for file in files:
            file.unlink()

    def _stored(self, values: np.ndarray) -> np.ndarray:
        """Return values as they are stored; none becomes 0."""
        if self._dtype is np.uint8:
            return np.rint(values / self.step).clip(1, _LEVELS).astype(np.uint8)
        if self._dtype is np.float16:
            smallest = np.finfo(np.float16).smallest_subnormal
            halves = values.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
            return np.where(halves == 0, np.copysign(smallest, values).astype(np.float16), halves)
        return values
