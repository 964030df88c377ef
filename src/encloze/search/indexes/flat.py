"""Exact search over embeddings with FAISS: every query is compared with every document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from encloze.data.records import Representation, SearchResults
from encloze.search.exact_dense import (
    EMBEDDINGS,
    open_embeddings,
    read_embeddings,
    require_dense,
    score_exactly,
    search_exactly,
)
from encloze.search.indexes.base import Index
from encloze.search.npy_files import AppendableArray
from encloze.search.segment import Segment

_A_FLAT = "a flat"


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
        return FlatBuilder(folder / EMBEDDINGS)

    def open(self, folder: Path) -> FlatSearcher:
        """Return a searcher over the index in ``folder``."""
        return FlatSearcher(open_embeddings(folder))

    def read(self, segment: Segment) -> Iterator[Representation]:
        """Yield the embeddings of the documents that have not been deleted (see ``Index.read``)."""
        return read_embeddings(segment)


class FlatBuilder:
    """Builder of a flat index, which appends embeddings to a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._array: AppendableArray | None = None  # created by the first ``add``, which has the dimension

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add the embeddings of documents. Raises TypeError for texts."""
        embeddings = require_dense(documents, _A_FLAT)
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
        return search_exactly(require_dense(queries, _A_FLAT, self.dim), self._embeddings, depth, allowed)

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """Return the scores of the documents ``numbers`` for each query embedding (see ``IndexSearcher.score``)."""
        return score_exactly(require_dense(queries, _A_FLAT, self.dim), self._embeddings, numbers)
