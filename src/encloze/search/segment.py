"""The record of a segment of an index."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Segment(NamedTuple):
    """A part of an index that was built at once."""

    folder: Path
    """The folder of the index of this segment."""
    live: np.ndarray | None = None
    """Which of its documents have not been deleted: bool, (documents of the segment,). None if all are."""
