"""Exact search over embeddings with FAISS: every query is compared with every document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.search.indexes._growing import Growing, mapped
from encloze.search.indexes.base import Index

_FILE = "embeddings.npy"


@dataclass(frozen=True)
class Flat(Index, name="flat"):
    """Inner product, nothing approximated: 4 bytes a dimension and document, in a file that is mapped."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def builder(self, folder: Path) -> FlatBuilder:
        return FlatBuilder(folder / _FILE)

    def open(self, folder: Path) -> OpenFlat:
        return OpenFlat(mapped(folder / _FILE))


class FlatBuilder:
    """Appends embeddings to the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._embeddings: Growing | None = None  # how wide they are is told by the first

    def add(self, documents: Iterable[str] | Representation) -> None:
        embeddings = dense_of(documents)
        if self._embeddings is None:
            self._embeddings = Growing(self._file, np.float32, embeddings.shape[1])
        self._embeddings.append(embeddings)

    def finish(self) -> None:
        if self._embeddings:
            self._embeddings.close()


class OpenFlat:
    """A flat index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def __init__(self, embeddings: np.ndarray) -> None:
        self._embeddings = embeddings  # float32, documents x width

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        import faiss

        depth = min(depth, len(self._embeddings))
        scores, numbers = faiss.knn(dense_of(queries), self._embeddings, depth, metric=faiss.METRIC_INNER_PRODUCT)
        return Ranked(numbers, scores)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        asked = dense_of(queries)
        return [self._embeddings[candidates] @ query for query, candidates in zip(asked, numbers, strict=True)]


def dense_of(given: Iterable[str] | Representation) -> np.ndarray:
    """The embeddings of a representation, as FAISS wants them."""
    if not isinstance(given, Representation) or given.dense is None:
        raise TypeError("a flat index is built from embeddings and asked with embeddings")
    return np.ascontiguousarray(given.dense, np.float32)
