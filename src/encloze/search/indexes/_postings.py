"""Postings: for each term the documents that have it, each with a number; written and read without being held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from encloze.data.records import Ranked
from encloze.search.indexes._growing import Growing, mapped, reserved

_AT_ONCE = 2**18  # postings sorted at a time: some 10 MB
_BEGINS, _DOCUMENTS, _VALUES = "begins.npy", "documents.npy", "values.npy"
_GIVEN: dict[str, type[np.generic]] = {"documents": np.int32, "terms": np.int32, "values": np.float32}

Terms = Sequence[tuple[int, float]]
"""The terms of a query with their weights."""

Weigh = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""From a term, numbers of documents and what the postings say of them to their weights."""


class Postings(NamedTuple):
    """The documents of a term are in the order of their numbers. Shapes: terms, postings."""

    begins: np.ndarray  # int64, terms + 1: where each term's postings lie
    documents: np.ndarray  # int32, postings: document numbers
    values: np.ndarray  # float32, postings: not 0

    @classmethod
    def open(cls, folder: Path) -> Self:
        """What ``PostingsWriter`` wrote there."""
        return cls(np.load(folder / _BEGINS), mapped(folder / _DOCUMENTS), mapped(folder / _VALUES))

    def of(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents that have a term, and their numbers for it."""
        part = slice(self.begins[term], self.begins[term + 1])
        return self.documents[part], self.values[part]

    def among(self, term: int, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which places of ``documents`` (numbers in any order) have a term, and their numbers for it."""
        holding, values = self.of(term)
        if not len(holding):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        at = np.searchsorted(holding, documents).clip(max=len(holding) - 1)
        places = np.flatnonzero(holding[at] == documents)
        return places, values[at[places]]


class PostingsWriter:
    """Takes documents in order, and turns their terms around when the last one is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given = {name: Growing(folder / f"given-{name}", kind) for name, kind in _GIVEN.items()}
        self._counts = np.zeros(0, np.int64)

    def add(self, documents: np.ndarray, terms: np.ndarray, values: np.ndarray) -> None:
        """Numbers of documents (none below those given before), of their terms, and a value for each, not 0."""
        for growing, rows in zip(self._given.values(), (documents, terms, values), strict=True):
            growing.append(rows)
        size = max(len(self._counts), int(terms.max(initial=-1)) + 1)
        counts = np.bincount(terms, minlength=size)
        counts[: len(self._counts)] += self._counts
        self._counts = counts

    def finish(self, terms: int) -> None:
        """Write the postings of so many terms."""
        for growing in self._given.values():
            growing.close()
        begins = np.zeros(terms + 1, np.int64)
        begins[1 : len(self._counts) + 1] = self._counts
        np.cumsum(begins, out=begins)
        np.save(self._folder / _BEGINS, begins)
        total, following = int(begins[-1]), begins[:-1].copy()
        files = [self._folder / f"given-{name}" for name in _GIVEN]
        given = [mapped(file) for file in files]
        documents, values = (
            reserved(self._folder / name, kind, total) for name, kind in ((_DOCUMENTS, np.int32), (_VALUES, np.float32))
        )
        for start in range(0, total, _AT_ONCE):
            of_documents, of_terms, of_values = (np.asarray(array[start : start + _AT_ONCE]) for array in given)
            order = np.argsort(of_terms, kind="stable")  # documents of a term stay in order
            sorted_terms = of_terms[order]
            found, first, counts = np.unique(sorted_terms, return_index=True, return_counts=True)
            places = following[sorted_terms] + np.arange(len(order)) - np.repeat(first, counts)
            documents[places], values[places] = of_documents[order], of_values[order]
            following[found] += counts
        documents.flush()
        values.flush()
        for file in files:
            file.unlink()


class OpenPostings:
    """Postings that can be asked: a score is the sum over a query's terms of their weights times the documents'."""

    def __init__(self, postings: Postings, documents: int, weigh: Weigh) -> None:
        """``weigh`` makes the weights of some documents for a term from their numbers for it."""
        self._postings, self._documents, self._weigh = postings, documents, weigh

    def search(self, asked: Sequence[Terms], depth: int) -> Ranked:
        """The best documents above 0, the score of those that share no term with a query, whatever the depth."""
        shape = len(asked), min(depth, self._documents)
        numbers, scores = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
        for row, terms in enumerate(asked):
            of_all = np.zeros(self._documents, np.float32)
            for term, weight in terms:
                documents, values = self._postings.of(term)
                of_all[documents] += weight * self._weigh(term, documents, values)
            numbers[row], scores[row] = _best(of_all, depth)
        return Ranked(numbers, scores)

    def score(self, asked: Sequence[Terms], numbers: list[np.ndarray]) -> list[np.ndarray]:
        """The scores of given documents for each query."""
        found = [np.zeros(len(candidates), np.float32) for candidates in numbers]
        for terms, candidates, scores in zip(asked, numbers, found, strict=True):
            for term, weight in terms:
                places, values = self._postings.among(term, candidates)
                scores[places] += weight * self._weigh(term, candidates[places], values)
        return found


def _best(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores of the best documents above 0, filled up with -1; equal scores by number."""
    depth = min(depth, len(scores))
    least = np.partition(scores, -depth)[-depth]
    chosen = np.flatnonzero((scores >= least) & (scores > 0))
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")[:depth]]
    numbers, values = np.full(depth, -1, np.int64), np.zeros(depth, np.float32)
    numbers[: len(chosen)], values[: len(chosen)] = chosen, scores[chosen]
    return numbers, values
