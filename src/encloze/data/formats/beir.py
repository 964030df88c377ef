"""BEIR layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze import progress
from encloze.data.fields import FieldReader
from encloze.data.formats.base import Format
from encloze.data.lines import (
    ErrorCollector,
    find_file,
    names_between,
    optional_integer,
    optional_text,
    read_json_lines,
    required_text,
)
from encloze.data.qrels import read_qrels
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Beir(Format, name="beir"):
    """A folder in BEIR layout.

    The optional fields ``doc_id`` and ``position`` of a document are the id of the longer text that it was cut from and
    its position in that text. The other fields of a document are kept as its extra fields.
    """

    recognition_order: ClassVar[int] = 10

    path: Path
    """Folder in BEIR layout."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_dir() and (find_file(path, "corpus.jsonl", "queries.jsonl") is not None)

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        file = self._file("corpus.jsonl")
        if others := sorted(name for name in names_between(self.path, "corpus", ".jsonl") if name):
            unread = ", ".join(f"corpus{name}.jsonl" for name in others)
            progress.warn(f"{self.path}: only {file.name} is read, not {unread}. Move all documents to one file")
        reader = FieldReader(("_id", "text", "title", "doc_id", "position"))
        for location, row in read_json_lines(file, errors):
            id_ = required_text(row, ("_id",), location, errors)
            text = required_text(row, ("text",), location, errors)
            title = optional_text(row, "title", location, errors) or ""
            source = optional_text(row, "doc_id", location, errors)
            position = optional_integer(row, "position", location, errors)
            if id_ is not None and text is not None:
                yield Document(id_, title, text, source, position, reader.read(row))

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        for location, row in read_json_lines(self._file("queries.jsonl"), errors):
            id_ = required_text(row, ("_id",), location, errors)
            text = required_text(row, ("text",), location, errors)
            if id_ is not None and text is not None:
                yield Query(id_, text)

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        file = find_file(self.path / "qrels", f"{split}.tsv")
        if file is None:
            raise DataError(
                f"{self.path} has no judgments for the split {split!r} (qrels/{split}.tsv). "
                f"Its splits are: {', '.join(self.splits()) or 'none'}"
            )
        return read_qrels(file, errors)

    def splits(self) -> list[str]:
        return sorted(names_between(self.path / "qrels", "", ".tsv"))

    def document_files(self) -> list[Path]:
        return [self._file("corpus.jsonl")]

    def _file(self, name: str) -> Path:
        file = find_file(self.path, name)
        if file is None:
            raise DataError(f"{self.path} has no {name} (or {name}.gz), which the BEIR layout requires")
        return file
