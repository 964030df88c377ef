"""BEIR layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import (
    ErrorCollector,
    find_file,
    optional_integer,
    optional_text,
    parse_integer,
    read_columns,
    read_json_lines,
    required_text,
)
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Beir(Format, name="beir"):
    """A folder in BEIR layout.

    The optional fields ``doc_id`` and ``position`` of a document are the id of the longer text that it was cut from and
    its position in that text.
    """

    recognition_order: ClassVar[int] = 10

    path: Path
    """Folder in BEIR layout."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_dir() and (find_file(path, "corpus.jsonl", "queries.jsonl") is not None)

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for location, row in read_json_lines(self._file("corpus.jsonl"), errors):
            id_ = required_text(row, ("_id",), location, errors)
            text = required_text(row, ("text",), location, errors)
            title = optional_text(row, "title", location, errors) or ""
            source = optional_text(row, "doc_id", location, errors)
            position = optional_integer(row, "position", location, errors)
            if id_ is not None and text is not None:
                yield Document(id_, title, text, source, position)

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
        for location, (query, document, grade, *_) in read_columns(file, 3, errors):
            if location.endswith(":1") and not grade.lstrip("-").isdigit():
                continue  # the header
            number = parse_integer(grade, "score", location, errors)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return sorted(file.name.partition(".")[0] for file in (self.path / "qrels").glob("*.tsv*"))

    def _file(self, name: str) -> Path:
        file = find_file(self.path, name)
        if file is None:
            raise DataError(f"{self.path} has no {name} (or {name}.gz), which the BEIR layout requires")
        return file
