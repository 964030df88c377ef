"""An .npy file that rows are appended to: arrays larger than memory, mapped when they are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np


class Growing:
    """Rows of one kind, on their way into a file; ``close`` says in its head how many they came to be."""

    def __init__(self, file: Path, kind: type[np.generic], width: int | None = None) -> None:
        """Rows are single numbers, or ``width`` of them."""
        self._file, self._kind, self._row, self._rows = file, np.dtype(kind), (() if width is None else (width,)), 0
        with file.open("wb") as stream:
            self._head(stream)

    def append(self, rows: np.ndarray) -> None:
        with self._file.open("ab") as stream:
            stream.write(np.ascontiguousarray(rows, self._kind).tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        with self._file.open("r+b") as stream:
            self._head(stream)  # as long as before: numpy leaves room for a growing first axis

    def _head(self, stream: IO[bytes]) -> None:
        shape = (self._rows, *self._row)
        descr = np.lib.format.dtype_to_descr(self._kind)
        np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})


def reserved(file: Path, kind: type[np.generic], count: int) -> np.memmap[Any, Any]:
    """An array of so many numbers in an .npy file, mapped to be written in any order.

    Its room on the disk is taken at once: a disk that gets full while a mapped page is written kills the process.
    """
    array = np.lib.format.open_memmap(file, "w+", kind, (count,))
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return array


def mapped(file: Path) -> np.ndarray:
    """The array in an .npy file, read as it is asked for; an empty one cannot be mapped and need not be."""
    return np.asarray(np.load(file, mmap_mode="r"))  # slices of numpy's class for mapped files cost microseconds
