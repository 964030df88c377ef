"""Documents of one place with queries and judgments of another: how generated queries ask a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query


@dataclass(frozen=True)
class Asked(Format, name="generated_queries"):
    """A corpus, and a folder of queries for it, whose own documents, if any, are not read."""

    corpus: Format
    """The documents: a folder or file in any known format."""
    questions: Path
    """The folder with the queries and judgments, as generate writes it; any format that has some will do."""

    def documents(self, faults: Faults) -> Iterator[Document]:
        return self.corpus.documents(faults)

    def pretraining_documents(self, faults: Faults) -> Iterator[Document]:
        return self.corpus.pretraining_documents(faults)

    def queries(self, faults: Faults) -> Iterator[Query]:
        return self._questions().queries(faults)

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        return self._questions().judgments(split, faults)

    def splits(self) -> list[str]:
        return self._questions().splits()

    def place(self) -> Path:
        return self.questions

    def inputs(self, name: str) -> dict[str, Path | str]:
        return {name: self.questions, **self.corpus.inputs(f"{name}.corpus")}

    def fingerprint(self) -> str:
        """The corpus's own: by it documents are found in the cache, and they are the same ones whatever is asked."""
        return self.corpus.fingerprint()

    def _questions(self) -> Format:
        """Looked at when it is read: a pipeline names folders that are yet to be written."""
        return Format.recognised(self.questions)(path=self.questions)  # type: ignore[call-arg]
