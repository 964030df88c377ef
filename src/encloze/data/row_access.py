"""Reading of rows at any positions from memory-mapped Arrow arrays or record batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_MANY = 64
"""Number of rows of a part from which they are taken together. That imports pyarrow.compute, which takes 70 ms."""


def take_rows(parts: Sequence[Any], offsets: Sequence[int] | np.ndarray, numbers: np.ndarray) -> list[Any]:
    """Return rows as Python values, in the order of ``numbers``.

    Args:
        parts: Arrow arrays, whose rows are values, or record batches, whose rows are dictionaries.
        offsets: Number of the first row of each part, followed by the number of all rows: (parts + 1,).
        numbers: Numbers of the rows: int64, (rows,). They are not checked.
    """
    rows, part_of = [None] * len(numbers), np.searchsorted(offsets, numbers, side="right") - 1
    for part in np.unique(part_of).tolist():
        positions = np.flatnonzero(part_of == part)
        indices = numbers[positions] - offsets[part]
        if len(indices) < _MANY:
            found = _few_rows(parts[part], indices.tolist())
        else:
            found = parts[part].take(_arrow_indices(indices)).to_pylist()
        for position, row in zip(positions.tolist(), found, strict=True):
            rows[position] = row
    return rows


def _few_rows(part: Any, indices: list[int]) -> list[Any]:
    """Return rows of an Arrow array or a record batch, one value at a time."""
    if not isinstance(part, pa.RecordBatch):
        return [part[index].as_py() for index in indices]
    columns = list(zip(part.schema.names, part.columns, strict=True))
    return [{name: column[index].as_py() for name, column in columns} for index in indices]


def _arrow_indices(indices: np.ndarray) -> Any:
    """Return an int64 array as an Arrow array. ``pyarrow.array`` would import pandas, which takes half a second."""
    values = np.ascontiguousarray(indices, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
