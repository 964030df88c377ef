"""Exact search over embeddings with FAISS: every query is compared with every document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.search.indexes.base import Index

_FILE = "flat.faiss"


@dataclass(frozen=True)
class Flat(Index, name="flat"):
    """Inner product, nothing approximated: 4 bytes a dimension and document."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        import faiss

        embeddings = dense_of(documents)
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(embeddings)
        faiss.write_index(index, str(folder / _FILE))

    def open(self, folder: Path) -> OpenFlat:
        import faiss

        return OpenFlat(faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP))


class OpenFlat:
    """A flat index that can be asked."""

    reads: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def __init__(self, index: Any) -> None:
        self._index = index

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        scores, numbers = self._index.search(dense_of(queries), min(depth, self._index.ntotal))
        return Ranked(numbers, scores)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        return [
            self._index.reconstruct_batch(candidates) @ query
            for query, candidates in zip(dense_of(queries), numbers, strict=True)
        ]


def dense_of(given: Iterable[str] | Representation) -> np.ndarray:
    """The embeddings of a representation, as FAISS wants them."""
    if not isinstance(given, Representation) or given.dense is None:
        raise TypeError("a flat index is built from embeddings and asked with embeddings")
    return np.ascontiguousarray(given.dense, np.float32)
