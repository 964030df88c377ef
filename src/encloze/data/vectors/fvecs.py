"""The format fvecs of approximate search benchmarks, and ids in a text file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from encloze.data.records import Representation
from encloze.data.vectors.base import IdsWriter, Kind, Layout, VectorFormat, Vectors, with_ids_beside
from encloze.errors import DataError


@dataclass(frozen=True)
class Fvecs(VectorFormat, name="fvecs"):
    """dense.fvecs, in which the number of dimensions (int32) precedes the float32 numbers of each row, and ids.txt."""

    kinds: ClassVar[tuple[Kind, ...]] = ("dense",)
    file: ClassVar[str] = "dense.fvecs"

    def writer(self, folder: Path, layout: Layout) -> _Writer:
        """Return a writer of a new file in an existing folder."""
        return _Writer(folder)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file (see ``VectorFormat.read``)."""
        size = file.stat().st_size
        words = np.memmap(file, "<i4", "r", shape=size // 4) if size >= 4 else np.empty(0, np.int32)
        dim = int(words[0]) if len(words) else 0
        if dim < 1 or size % (4 * (dim + 1)):
            raise DataError(f"{file}: its size of {size:,} bytes is no multiple of rows with {dim} dimensions")
        rows = words.reshape(-1, dim + 1)
        if (rows[:, 0] != dim).any():
            wrong = int(np.flatnonzero(rows[:, 0] != dim)[0])
            raise DataError(f"{file}: row {wrong} has {rows[wrong, 0]} dimensions, and the rows before it {dim}")
        yield from with_ids_beside(file, rows[:, 1:].view("<f4"))


class _Writer:
    def __init__(self, folder: Path) -> None:
        self._file, self._ids = folder / Fvecs.file, IdsWriter(folder)
        self._file.touch()

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        rows = np.empty((len(ids), vectors.dense.shape[1] + 1), "<f4")
        rows[:, 0] = np.array(vectors.dense.shape[1], "<i4").view("<f4")
        rows[:, 1:] = vectors.dense
        with self._file.open("ab") as stream:
            stream.write(rows.tobytes())
        self._ids.add(ids)

    def finish(self) -> None:
        """Do nothing: every batch has been written."""
