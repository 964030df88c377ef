"""Add documents to an index, and replace those that have the same ids."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.commands.add import Add
from encloze.retrieval.index_change import IndexChange


@dataclass(frozen=True)
class Update(Add, name="update"):
    """Add documents to an index. Documents of the index with the same ids are replaced.

    Only the given documents are read, encoded and written, with the model that built the index. Searches that start
    afterwards find them, and not the ones that they replace.

    Example:
        >>> Update(index="index", corpus="changed_texts.jsonl").run().replaced
        12
    """

    by_source: bool = False
    """If the documents are passages of longer texts: whether all other passages of these texts are deleted, because a
    new version of a text may have fewer passages."""

    def run(self) -> IndexChange:
        return self.change("source" if self.by_source else "id")
