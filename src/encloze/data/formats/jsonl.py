"""A JSON Lines file with one document per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import (
    ErrorCollector,
    optional_integer,
    optional_text,
    read_json_lines,
    required_text,
    uncompressed_suffix,
)
from encloze.data.records import Document

_ID_FIELDS = ("_id", "id", "docid")


@dataclass(frozen=True)
class Jsonl(Format, name="jsonl"):
    """A .jsonl file, plain or gzipped. The id of a document without an id field is its line number, counted from 0."""

    path: Path
    """The .jsonl file, plain or gzipped."""
    text_field: str = "text"
    """Name of the field with the text of a document."""
    title_field: str = "title"
    """Name of the field with the title of a document. Lines may lack this field."""
    id_field: str | None = None
    """Name of the field with the id of a document; by default the first of _id, id and docid that a line has."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_file() and uncompressed_suffix(path) in (".jsonl", ".ndjson")

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for number, (location, row) in enumerate(read_json_lines(self.path, errors)):
            other = next((name for name in row if name not in (*_ID_FIELDS, self.title_field)), "FIELD")
            hint = f" Name the field with --corpus.text_field {other}"
            text = required_text(row, (self.text_field,), location, errors, hint)
            id_fields = (self.id_field,) if self.id_field else tuple(name for name in _ID_FIELDS if name in row)
            id_ = required_text(row, id_fields, location, errors) if id_fields else str(number)
            title = optional_text(row, self.title_field, location, errors) or ""
            source = optional_text(row, "doc_id", location, errors)
            position = optional_integer(row, "position", location, errors)
            if text is not None and id_ is not None:
                yield Document(id_, title, text, source, position)
