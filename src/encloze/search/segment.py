"""Segments of an index, and what is kept of them when an index is opened again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Segment(NamedTuple):
    """A part of an index that was built at once."""

    folder: Path
    """The folder of the index of this segment."""
    live: np.ndarray | None = None
    """Which of its documents have not been deleted: bool, (documents of the segment,). None if all are."""
    version: Hashable = None
    """A value that changes if other files take the place of the segment's files, which themselves never change."""


Opened = dict[Hashable, Any]
"""What was opened of the segments of an index, by their versions."""


def open_once(segments: Sequence[Segment], open_: Callable[[Path], T], opened: Opened | None) -> list[T]:
    """Open segments, except for those that are open already.

    Args:
        segments: The segments.
        open_: Function that opens the folder of a segment.
        opened: What was opened before. It is updated: segments that are not used any more are removed.
    """
    known = opened if opened is not None else {}
    parts = [known[s.version] if s.version in known else open_(s.folder) for s in segments]
    known.clear()
    known.update((s.version, part) for s, part in zip(segments, parts, strict=True) if s.version is not None)
    return parts
