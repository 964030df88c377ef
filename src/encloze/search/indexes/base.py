"""An index: documents in, ranked document numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np

from encloze.data.records import Ranked, Representation
from encloze.family import Family


class OpenIndex(Protocol):
    """An index that can be asked. Queries are texts or representations, as the index reads the one or the other."""

    reads: ClassVar[Literal["text", "dense", "sparse"]]

    def search(self, queries: Sequence[str] | Representation, depth: int) -> Ranked:
        """The best ``depth`` documents of each query."""
        ...

    def score(self, queries: Sequence[str] | Representation, numbers: list[np.ndarray]) -> list[np.ndarray]:
        """The scores of given documents for each query, also of those that a search would not find."""
        ...


class Builder(Protocol):
    """An index that is being written: it gets the documents in parts and holds no more than one."""

    def add(self, documents: Iterable[str] | Representation) -> None:
        """The next documents, in order."""
        ...

    def finish(self) -> None:
        """There are no more."""
        ...


@dataclass(frozen=True)
class Index(Family):
    """A kind of index and its settings."""

    reads: ClassVar[Literal["text", "dense", "sparse"]]
    """What it is built from and asked with."""

    def builder(self, folder: Path) -> Builder:
        """What writes the index of documents into ``folder``."""
        raise NotImplementedError(type(self).__name__)

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        """Write the index of documents that are all there."""
        builder = self.builder(folder)
        builder.add(documents)
        builder.finish()

    def open(self, folder: Path) -> OpenIndex:
        """The index that was built there."""
        raise NotImplementedError(type(self).__name__)
