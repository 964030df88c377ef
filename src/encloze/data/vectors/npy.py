"""NumPy arrays, and their ids in a text file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import ClassVar

import numpy as np

from encloze.data.records import Representation
from encloze.data.vectors.base import IdsWriter, Kind, Layout, VectorFormat, Vectors, with_ids_beside
from encloze.errors import DataError


@dataclass(frozen=True)
class Npy(VectorFormat, name="npy"):
    """dense.npy, a float32 array with one embedding per row, and ids.txt with one id per line."""

    kinds: ClassVar[tuple[Kind, ...]] = ("dense",)
    file: ClassVar[str] = "dense.npy"

    def writer(self, folder: Path, layout: Layout) -> _Writer:
        """Return a writer of a new file in an existing folder."""
        return _Writer(folder, layout)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file (see ``VectorFormat.read``)."""
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        # numpy parses the header as Python
        except (EOFError, OSError, OverflowError, SyntaxError, TypeError, ValueError, TokenError) as error:
            raise DataError(f"{file}: it is no array that can be read: {error}") from error
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
            raise DataError(f"{file}: expected numbers in rows and columns, found {array.dtype} of {array.shape}")
        yield from with_ids_beside(file, array)


class _Writer:
    def __init__(self, folder: Path, layout: Layout) -> None:
        shape = layout.texts, layout.dims["dense"]
        self._array = np.lib.format.open_memmap(folder / Npy.file, "w+", np.float32, shape)
        self._ids, self._written = IdsWriter(folder), 0

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        self._array[self._written : self._written + len(ids)] = vectors.dense
        self._ids.add(ids)
        self._written += len(ids)

    def finish(self) -> None:
        self._array.flush()
