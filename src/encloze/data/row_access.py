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
            found = [parts[part].slice(index, 1).to_pylist()[0] for index in indices.tolist()]
        else:
            found = parts[part].take(_arrow_indices(indices)).to_pylist()
        for position, row in zip(positions.tolist(), found, strict=True):
            rows[position] = row
    return rows


def _arrow_indices(indices: np.ndarray) -> Any:
    """Return an int64 array as an Arrow array. ``pyarrow.array`` would import pandas, which takes half a second."""
    values = np.ascontiguousarray(indices, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
