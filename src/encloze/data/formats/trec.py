"""TREC layout: judgments as lines of ``query iteration document grade``, with optional topics and documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.delimited import read_queries
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.qrels import is_qrels, read_qrels
from encloze.data.records import Document, Judgment, Query


@dataclass(frozen=True)
class Trec(Format, name="trec"):
    """A file of judgments, and optionally files of queries and documents.

    The judgments suffice to evaluate run files. The same judgments are used for every split.
    """

    recognition_order: ClassVar[int] = 30

    path: Path
    """File of judgments, plain or gzipped."""
    topics: Path | None = None
    """File of queries, with id and text separated by a tab, plain or gzipped."""
    corpus: Format | None = None
    """Documents that the judgments refer to: a folder or file in any known format."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_file() and is_qrels(path)

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.corpus.documents(errors) if self.corpus else super().documents(errors)

    def pretraining_documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.corpus.pretraining_documents(errors) if self.corpus else super().pretraining_documents(errors)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        if self.topics is None:
            return super().queries(errors)
        return read_queries(self.topics, errors)

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        return read_qrels(self.path, errors)

    def splits(self) -> list[str]:
        return ["test"]

    def inputs(self, name: str) -> dict[str, Path | str]:
        topics: dict[str, Path | str] = {f"{name}.topics": self.topics} if self.topics else {}
        return {name: self.path, **topics, **(self.corpus.inputs(f"{name}.corpus") if self.corpus else {})}

    def fingerprint(self) -> str:
        """Return the fingerprint of ``corpus`` or, if ``corpus`` is not set, of the file of judgments."""
        return self.corpus.fingerprint() if self.corpus else super().fingerprint()
