"""Merge the segments of an index, and free the space of deleted documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.commands.base import Command
from encloze.retrieval.changes import compact
from encloze.retrieval.index_change import IndexChange


@dataclass(frozen=True)
class Compact(Command, name="compact"):
    """Store the documents of an index in one segment, without those that were deleted. Nothing is encoded again.

    Searches find the same documents with the same scores as before, in less time if many documents were added in small
    portions. Searches that run meanwhile are not disturbed.

    Example:
        >>> Compact(index="index").run().segments
        1
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("index",)

    index: Path
    """Index folder to compact, written by the command index."""

    def run(self) -> IndexChange:
        return compact(self.index)
