"""One file of JSON lines, each a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import Faults, bare_suffix, field_of, json_objects, optional_integer, optional_text
from encloze.data.records import Document

_IDS = ("_id", "id", "docid")


@dataclass(frozen=True)
class Jsonl(Format, name="jsonl"):
    """A .jsonl file (or .jsonl.gz); a line without an id is known by its number."""

    path: Path
    """The file."""
    text_field: str = "text"
    """The field that holds the text."""
    title_field: str = "title"
    """The field that holds the title; a line may lack it."""
    id_field: str | None = None
    """The field that holds the id; by default the first of _id, id, docid that a line has."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and bare_suffix(path) in (".jsonl", ".ndjson")

    def documents(self, faults: Faults) -> Iterator[Document]:
        option = "--corpus.text_field"
        for number, (where, value) in enumerate(json_objects(self.path, faults)):
            other = next((name for name in value if name not in (*_IDS, self.title_field)), "FIELD")
            text = field_of(value, (self.text_field,), where, faults, f" Map it with {option} {other}")
            ids = (self.id_field,) if self.id_field else tuple(name for name in _IDS if name in value)
            id_ = field_of(value, ids, where, faults) if ids else str(number)
            title = optional_text(value, self.title_field, where, faults) or ""
            source = optional_text(value, "doc_id", where, faults)
            position = optional_integer(value, "position", where, faults)
            if text is not None and id_ is not None:
                yield Document(id_, title, text, source, position)
