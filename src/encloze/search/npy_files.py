"""Arrays in .npy files that may be larger than memory: they are written row by row, or memory-mapped."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from encloze.errors import CheckpointError

_ROWS = 2**16
"""Rows that are checked at a time."""


class AppendableArray:
    """Array in an .npy file to which rows are appended. ``close`` writes the number of rows into the file's header."""

    def __init__(self, file: Path, dtype: type[np.generic], dim: int | None = None) -> None:
        """Create the file. Each row has ``dim`` numbers; without ``dim``, a row is a single number."""
        self._file, self._dtype, self._num_rows = file, np.dtype(dtype), 0
        self._row_shape = () if dim is None else (dim,)
        with file.open("wb") as stream:
            self._write_header(stream)

    def append(self, rows: np.ndarray) -> None:
        """Append rows, converted to the dtype of the array."""
        with self._file.open("ab") as stream:
            stream.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._num_rows += len(rows)

    def close(self) -> None:
        """Complete the file: write the final number of rows into its header."""
        with self._file.open("r+b") as stream:
            self._write_header(stream)  # of the same length as before: numpy pads it for a growing first axis

    def _write_header(self, stream: IO[bytes]) -> None:
        shape = (self._num_rows, *self._row_shape)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})


def allocate_array(file: Path, dtype: type[np.generic], size: int) -> np.memmap[Any, Any]:
    """Return a writable memory-mapped array of ``size`` numbers in a new .npy file.

    Disk space is allocated immediately: if the disk became full during a write to a memory map, the operating system
    would kill the process.
    """
    array = np.lib.format.open_memmap(file, "w+", dtype, (size,))
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return array


def map_array(file: Path, dtype: type[np.generic], dims: int = 1) -> np.ndarray:
    """Return the array of an .npy file as a read-only memory map.

    Args:
        file: The file.
        dtype: Type that the numbers must have.
        dims: Number of dimensions that the array must have.

    Raises:
        CheckpointError: The file is missing or damaged, or the array has another type or another number of dimensions.
    """
    try:
        # A plain ndarray: slicing np.memmap costs microseconds.
        array: np.ndarray = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    # numpy parses the header as Python
    except (EOFError, OSError, OverflowError, SyntaxError, TypeError, ValueError, TokenError) as error:
        raise damaged(file, str(error)) from error
    if array.dtype != dtype or array.ndim != dims or not array.flags.c_contiguous:
        expected = f"{np.dtype(dtype)} with {dims} dimensions"
        raise damaged(file, f"expected {expected}, found {array.dtype} with {array.ndim} dimensions")
    return array


def damaged(file: Path, fault: str) -> CheckpointError:
    """Return the error for a damaged file of an index."""
    return CheckpointError(f"{file} is damaged: {fault}. Build the index again, or restore the file")


def all_finite(array: np.ndarray) -> bool:
    """Return whether an array, which may be larger than memory, has neither infinite numbers nor NaN."""
    return all(np.isfinite(array[start : start + _ROWS]).all() for start in range(0, len(array), _ROWS))
