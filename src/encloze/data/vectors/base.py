"""Interface of the formats in which embeddings and term weights are exchanged with other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np

from encloze.data.records import Representation
from encloze.errors import DataError
from encloze.family import Family

Kind = Literal["dense", "sparse"]
IDS_FILE = "ids.txt"
ORIGIN_FILE = "vectors.json"
"""Name of the file in which ``encloze encode`` records the model that computed the vectors."""
ROWS = 4096
"""Number of rows that are read at a time."""

TermNames = Callable[[Sequence[int]], list[str]]
"""Function that returns the tokens that dimensions of term weights stand for."""


class Layout(NamedTuple):
    """What a file of vectors contains."""

    texts: int
    """Number of texts."""
    dims: dict[str, int]
    """Number of dimensions of each kind of vector: of ``dense``, ``sparse`` or both."""
    term_names: TermNames
    """Names of the dimensions of the term weights."""


class VectorWriter(Protocol):
    """Writer of a file of vectors, which receives them in batches."""

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        """Write the vectors of some texts. Raises DataError if the format cannot represent them."""
        ...

    def finish(self) -> None:
        """Complete the file."""
        ...


class Vectors(NamedTuple):
    """Vectors that were read from a file."""

    ids: list[str] | None
    """Ids of the texts; None if the file has none."""
    vectors: Representation


@dataclass(frozen=True)
class VectorFormat(Family):
    """Base class of formats of vectors.

    Example:
        >>> from encloze.data.vectors.npy import Npy
        >>> layout = Layout(2, {"dense": 3}, lambda terms: [])
        >>> writer = Npy().writer(folder, layout)
        >>> writer.add(["1", "2"], Representation(dense=np.ones((2, 3), np.float32)))
        >>> writer.finish()
        >>> [part.ids for part in Npy.read(folder / "dense.npy", {}, 0)]
        [['1', '2']]
    """

    kinds: ClassVar[tuple[Kind, ...]]
    """Kinds of vectors that the format can contain."""
    holds_both: ClassVar[bool] = False
    """Whether one file can contain both kinds."""
    file: ClassVar[str]
    """Name of the file that is written."""

    def writer(self, folder: Path, layout: Layout) -> VectorWriter:
        """Return a writer of a new file in an existing folder."""
        raise NotImplementedError(type(self).__name__)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file, at most 4,096 at a time.

        Args:
            file: The file.
            term_numbers: Number of each term, for formats that name the terms.
            num_terms: Number of all terms.

        Raises:
            DataError: The file is damaged, or is not in this format.
        """
        raise NotImplementedError(cls.__name__)

    @classmethod
    def recognize(cls, path: Path) -> tuple[type[Self], Path]:
        """Return the format of a file, or of the file that ``encloze encode`` wrote into a folder, and this file.

        Raises:
            DataError: There is no such file, or it has another suffix.
        """
        members = [cls.member(name) for name in cls.members()]
        if path.is_dir():
            found = [(member, path / member.file) for member in members if (path / member.file).is_file()]
            if found:
                return found[0]
            raise DataError(f"{path} contains none of {', '.join(member.file for member in members)}")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file or folder")
        for member in members:
            if path.suffix == Path(member.file).suffix:
                return member, path
        suffixes = ", ".join(sorted({Path(member.file).suffix for member in members}))
        raise DataError(f"{path}: vectors are read from files with the suffixes {suffixes}")


class IdsWriter:
    """Writer of the ids of texts, one per line, next to a file that has no place for them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / IDS_FILE
        self._file.touch()

    def add(self, ids: Sequence[str]) -> None:
        """Write ids."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{id_}\n" for id_ in ids)


def with_ids_beside(file: Path, embeddings: np.ndarray) -> Iterator[Vectors]:
    """Yield embeddings with the ids in ``ids.txt`` in the same folder, if there is such a file.

    Raises:
        DataError: The number of ids differs from that of the embeddings.
    """
    ids, beside = None, file.with_name(IDS_FILE)
    if beside.is_file():
        ids = beside.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        if len(ids) != len(embeddings):
            raise DataError(f"{beside} has {len(ids):,} ids, and {file.name} {len(embeddings):,} embeddings")
    for start in range(0, len(embeddings), ROWS):
        rows = Representation(dense=np.asarray(embeddings[start : start + ROWS], np.float32))
        yield Vectors(ids[start : start + ROWS] if ids else None, rows)
