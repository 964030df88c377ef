"""Add documents to an index, without building it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.retrieval.changes import add_documents
from encloze.retrieval.index_change import IndexChange, Replacement
from encloze.retrieval.index_folder import check_index, view_entries
from encloze.retrieval.opening import encoder_finder


@dataclass(frozen=True)
class Add(Command, name="add"):
    """Add documents to an index. Documents with an id that the index already contains are refused; see update.

    Only the new documents are read, encoded and written, with the model that built the index. Searches that start
    afterwards find them. A search server or notebook that has opened the index finds them after Retriever.refresh().

    Example:
        >>> Add(index="index", corpus="new_texts.jsonl").run().documents
        1200
    """

    index: Path
    """Index folder to change, written by the command index."""
    corpus: Format
    """Documents: a file or folder in any known format, or python_docs (docstrings of installed packages)."""
    model: str | None = None
    """Path of the model that built the index. Required only if the model has been moved since then."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""

    def run(self) -> IndexChange:
        return self.change("none")

    def change(self, replace: Replacement) -> IndexChange:
        """Add the documents (see ``add_documents``)."""
        check_index(self.index)
        documents = Corpus.from_format(self.corpus)
        find = encoder_finder(self.index, self.model, None, self.precision)
        encoder = next(filter(None, map(find, view_entries(self.index))), None)
        return add_documents(self.index, documents, encoder, replace)
