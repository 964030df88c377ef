"""TREC's layout: judgments as lines of ``query iteration document grade``, topics and collection beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import Faults, columns, integer
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Trec(Format, name="trec"):
    """A file of judgments, enough to measure a run by, and what they judge; any split is that file."""

    rank: ClassVar[int] = 90

    path: Path
    """The file of judgments, plain or gzipped."""
    topics: Path | None = None
    """The queries: lines of id and text, separated by a tab, plain or gzipped."""
    corpus: Format | None = None
    """The documents: a folder or file in any known format."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if not path.is_file():
            return False
        try:
            _, first = next(columns(path, 4, Faults(), separator=None))
        except (DataError, StopIteration):
            return False
        return len(first) == 4 and first[3].lstrip("-").isdigit()

    def documents(self, faults: Faults) -> Iterator[Document]:
        return self.corpus.documents(faults) if self.corpus else super().documents(faults)

    def pretraining_documents(self, faults: Faults) -> Iterator[Document]:
        return self.corpus.pretraining_documents(faults) if self.corpus else super().pretraining_documents(faults)

    def queries(self, faults: Faults) -> Iterator[Query]:
        if self.topics is None:
            return super().queries(faults)
        return (Query(id_, text) for _, (id_, text, *_) in columns(self.topics, 2, faults))

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        for where, (query, _, document, grade, *_) in columns(self.path, 4, faults, separator=None):
            number = integer(grade, "grade", where, faults)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return ["test"]

    def inputs(self, name: str) -> dict[str, Path | str]:
        topics: dict[str, Path | str] = {f"{name}.topics": self.topics} if self.topics else {}
        return {name: self.path, **topics, **(self.corpus.inputs(f"{name}.corpus") if self.corpus else {})}

    def fingerprint(self) -> str:
        """The corpus's own, where there is one: by it documents are found in the cache."""
        return self.corpus.fingerprint() if self.corpus else super().fingerprint()
