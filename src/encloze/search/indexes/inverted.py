"""Exact search over term weights: the postings of the query's terms are gone through in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from scipy.sparse import csr_matrix

from encloze.data.records import Ranked, Representation
from encloze.folders import read_json, write_json
from encloze.search.indexes.base import Index

_PARTS, _SHAPE = ("data", "indices", "indptr"), "shape.json"
_SCORES_AT_ONCE = 2**24  # float32 scores held at once: 64 MB


@dataclass(frozen=True)
class Inverted(Index, name="inverted"):
    """Inner product of term weights, nothing approximated: 8 bytes for each weight of each document."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        postings = sparse_of(documents).T.tocsr()  # vocabulary x documents
        postings.sort_indices()
        for part in _PARTS:
            np.save(folder / f"{part}.npy", getattr(postings, part))
        write_json(folder / _SHAPE, {"terms": postings.shape[0], "documents": postings.shape[1]})

    def open(self, folder: Path) -> OpenInverted:
        shape = read_json(folder / _SHAPE)
        parts = tuple(np.load(folder / f"{part}.npy", mmap_mode="r") for part in _PARTS)
        return OpenInverted(csr_matrix(parts, (shape["terms"], shape["documents"]), copy=False))


class OpenInverted:
    """An inverted index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "sparse"

    def __init__(self, postings: csr_matrix) -> None:
        self._postings = postings

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        """Documents that share no term with a query are not found, whatever the depth."""
        asked, documents = sparse_of(queries), self._postings.shape[1]
        depth = min(depth, documents)
        numbers = np.full((asked.shape[0], depth), -1, np.int64)
        scores = np.zeros((asked.shape[0], depth), np.float32)
        rows = max(1, _SCORES_AT_ONCE // max(1, documents))
        for start in range(0, asked.shape[0], rows):
            found = asked[start : start + rows] @ self._postings
            for row in range(found.shape[0]):
                part = slice(found.indptr[row], found.indptr[row + 1])
                best = _best(found.indices[part], found.data[part], depth)
                numbers[start + row, : len(best)] = found.indices[part][best]
                scores[start + row, : len(best)] = found.data[part][best]
        return Ranked(numbers, scores)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        asked = sparse_of(queries)
        scored = []
        for row, candidates in enumerate(numbers):
            query = asked[row]
            weights = self._postings[query.indices][:, candidates]  # the query's terms x candidates
            scored.append(np.asarray(query.data @ weights, np.float32))
        return scored


def _best(documents: np.ndarray, scores: np.ndarray, depth: int) -> np.ndarray:
    """Places of the ``depth`` highest scores, best first; equal ones by document number."""
    if len(scores) > depth:
        least = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    order = np.lexsort((documents[places], -scores[places]))
    return np.asarray(places[order][:depth])


def sparse_of(given: Iterable[str] | Representation) -> csr_matrix:
    """The term weights of a representation."""
    if not isinstance(given, Representation) or given.sparse is None:
        raise TypeError("an inverted index is built from term weights and asked with term weights")
    return given.sparse
