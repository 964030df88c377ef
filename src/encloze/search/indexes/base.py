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


@dataclass(frozen=True)
class Index(Family):
    """A kind of index and its settings."""

    reads: ClassVar[Literal["text", "dense", "sparse"]]
    """What it is built from and asked with."""

    def build(self, documents: Iterable[str] | Representation, folder: Path) -> None:
        """Write the index of the documents into ``folder``."""
        raise NotImplementedError(type(self).__name__)

    def open(self, folder: Path) -> OpenIndex:
        """The index that ``build`` wrote."""
        raise NotImplementedError(type(self).__name__)
