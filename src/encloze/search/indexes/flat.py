"""Exact search over embeddings with FAISS: every query is compared with every document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.exact_dense import search_exact
from encloze.search.indexes.base import Index
from encloze.search.npy_files import AppendableArray, all_finite, damaged, map_array
from encloze.search.segments import Segment
from encloze.storage.verified import check_once

_FILE = "embeddings.npy"
_ROWS = 4096  # embeddings read at a time


@dataclass(frozen=True)
class Flat(Index, name="flat"):
    """Flat index: exact inner product over float32 embeddings, memory-mapped; 4 bytes per dimension and document.

    Example:
        >>> embeddings = np.eye(3, dtype=np.float32)
        >>> Flat().build(Representation(dense=embeddings), folder)
        >>> Flat().open(folder).search(Representation(dense=embeddings[:1]), depth=1).numbers
        array([[0]])
    """

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def builder(self, folder: Path) -> FlatBuilder:
        """Return a builder that writes a new index into an existing empty folder."""
        return FlatBuilder(folder / _FILE)

    def open(self, folder: Path) -> FlatSearcher:
        """Return a searcher over the index in ``folder``."""
        file = folder / _FILE
        embeddings = map_array(file, np.float32, dims=2)
        check_once("finite embeddings", [file], lambda: _check_finite(file, embeddings))
        return FlatSearcher(embeddings)

    def read(self, segment: Segment) -> Iterator[Representation]:
        """Yield the embeddings of the documents that have not been deleted (see ``Index.read``)."""
        embeddings = map_array(segment.folder / _FILE, np.float32, dims=2)
        rows = np.arange(len(embeddings)) if segment.live is None else np.flatnonzero(segment.live)
        for start in range(0, len(rows), _ROWS):
            yield Representation(dense=embeddings[rows[start : start + _ROWS]])


class FlatBuilder:
    """Builder of a flat index, which appends embeddings to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._array: AppendableArray | None = None  # created by the first ``add``, which has the dimension

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add the embeddings of documents. Raises TypeError for texts."""
        embeddings = _require_dense(documents)
        if self._array is None:
            self._array = AppendableArray(self._file, np.float32, embeddings.shape[1])
        self._array.append(embeddings)

    def finish(self) -> None:
        """Write the index."""
        if self._array:
            self._array.close()


class FlatSearcher:
    """Searcher over a flat index."""

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "dense"

    def __init__(self, embeddings: np.ndarray) -> None:
        self._embeddings = embeddings  # float32, (documents, dim)
        self.num_documents: int = embeddings.shape[0]
        self.dim: int | None = embeddings.shape[1]

    def search(
        self, queries: Sequence[str] | Representation, depth: int, allowed: np.ndarray | None = None
    ) -> SearchResults:
        """Return the ``depth`` best documents of each query embedding (see ``IndexSearcher.search``)."""
        return search_exact(self._embeddings, _require_dense(queries), depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query embedding (see ``IndexSearcher.score``)."""
        embeddings = _require_dense(queries)
        return [self._embeddings[candidates] @ query for query, candidates in zip(embeddings, numbers, strict=True)]


def _check_finite(file: Path, embeddings: np.ndarray) -> None:
    if not all_finite(embeddings):
        raise damaged(file, "it contains infinite numbers or NaN")


def _require_dense(texts_or_views: Iterable[str] | Representation) -> np.ndarray:
    """Return the embeddings of a representation as a contiguous float32 array. Raises TypeError if it has none."""
    if not isinstance(texts_or_views, Representation) or texts_or_views.dense is None:
        raise TypeError("a flat index takes a Representation with dense embeddings. Encode the texts first")
    return np.ascontiguousarray(texts_or_views.dense, np.float32)
