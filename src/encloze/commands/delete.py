"""Delete documents from an index, by their ids or by a filter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.commands.base import Command
from encloze.data.filters import Filter
from encloze.data.lines import read_lines
from encloze.retrieval.changes import delete_documents
from encloze.retrieval.index_change import IndexChange


@dataclass(frozen=True)
class Delete(Command, name="delete"):
    """Delete documents from an index, by their ids or by a filter. Searches that start afterwards do not find them.

    The documents are marked as deleted. The command compact frees their space.

    Example:
        >>> Delete(index="index", filter="year < 2000").run().deleted
        31
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("ids",)

    index: Path
    """Index folder to change, written by the command index."""
    ids: tuple[str, ...] = ()
    """Ids of the documents to delete."""
    ids_file: Path | None = None
    """File with one id in each line."""
    filter: str | None = None
    """Condition on the fields of the documents to delete, such as 'year < 2000 and not draft'."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.ids, self.ids_file, self.filter))) != 1:
            raise ValueError("give the documents to delete by one of ids, ids_file and filter")
        if self.filter:
            Filter(self.filter)  # reports a fault before anything is read

    def run(self) -> IndexChange:
        if self.filter:
            return delete_documents(self.index, filter_=Filter(self.filter))
        if self.ids_file:
            return delete_documents(self.index, [line.strip() for _, line in read_lines(self.ids_file)])
        return delete_documents(self.index, self.ids)
