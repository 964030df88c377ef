"""Exact search over term weights: the postings of the query's terms are gone through in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import csr_matrix

from encloze.data.records import Ranked, Representation
from encloze.search.indexes._postings import OpenPostings, Postings, PostingsWriter, Terms
from encloze.search.indexes.base import Index
from encloze.storage.json_files import read_json, write_json

_SHAPE = "shape.json"


@dataclass(frozen=True)
class Inverted(Index, name="inverted"):
    """Inner product of term weights, nothing approximated: 8 bytes for each weight of each document, mapped."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    def builder(self, folder: Path) -> InvertedBuilder:
        return InvertedBuilder(folder)

    def open(self, folder: Path) -> OpenInverted:
        return OpenInverted(Postings.open(folder), read_json(folder / _SHAPE)["documents"])


class InvertedBuilder:
    """Writes the postings of term weights."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._postings = folder, PostingsWriter(folder)
        self._documents = self._terms = 0

    def add(self, documents: Iterable[str] | Representation) -> None:
        weights = sparse_of(documents)
        rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
        self._postings.add(self._documents + rows, weights.indices, weights.data)
        self._documents, self._terms = self._documents + weights.shape[0], weights.shape[1]

    def finish(self) -> None:
        self._postings.finish(self._terms)
        write_json(self._folder / _SHAPE, {"terms": self._terms, "documents": self._documents})


class OpenInverted:
    """An inverted index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    def __init__(self, postings: Postings, documents: int) -> None:
        self._open = OpenPostings(postings, documents, lambda term, documents, weights: weights)

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        """Documents that share no term with a query are not found, whatever the depth, nor those that score lower.

        Weights below 0, which the head ordinary_tokens has, may put a document below such ones, which score 0.
        """
        return self._open.search(_terms(sparse_of(queries)), depth)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        return self._open.score(_terms(sparse_of(queries)), numbers)


def _terms(asked: csr_matrix) -> list[Terms]:
    """The terms of each text with their weights."""
    parts = (slice(begin, end) for begin, end in pairwise(asked.indptr))
    return [list(zip(asked.indices[part].tolist(), asked.data[part].tolist(), strict=True)) for part in parts]


def sparse_of(given: Iterable[str] | Representation) -> csr_matrix:
    """The term weights of a representation."""
    if not isinstance(given, Representation) or given.sparse is None:
        raise TypeError("an inverted index is built from term weights and asked with term weights")
    return given.sparse
