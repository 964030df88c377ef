"""Result of a change of an index folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class IndexChange:
    """Result of a change of an index folder.

    Attributes:
        folder: The index folder.
        documents: Number of documents that it contains now.
        segments: Number of segments in which they are stored; ``compact`` makes it 1.
        added: Number of documents that were added, including those that replaced others.
        replaced: Number of documents that were replaced.
        deleted: Number of documents that were deleted without being replaced.
        missing: Ids to delete that the index did not contain.
    """

    folder: Path
    documents: int
    segments: int
    added: int = 0
    replaced: int = 0
    deleted: int = 0
    missing: tuple[str, ...] = field(default=())


Replacement = Literal["none", "id", "source"]
"""Which documents of an index added ones replace: none, those with the same ids, also those with the same sources."""
