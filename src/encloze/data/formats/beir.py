"""BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import (
    Faults,
    columns,
    field_of,
    integer,
    json_objects,
    optional_integer,
    optional_text,
    present,
)
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError


@dataclass(frozen=True)
class Beir(Format, name="beir"):
    """A folder in BEIR's layout; ``doc_id`` and ``position``, where given, tell which passages are neighbours."""

    rank: ClassVar[int] = 10

    path: Path
    """The folder."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and (present(path, "corpus.jsonl", "queries.jsonl") is not None)

    def documents(self, faults: Faults) -> Iterator[Document]:
        for where, value in json_objects(self._file("corpus.jsonl"), faults):
            id_ = field_of(value, ("_id",), where, faults)
            text = field_of(value, ("text",), where, faults)
            title = optional_text(value, "title", where, faults) or ""
            source = optional_text(value, "doc_id", where, faults)
            position = optional_integer(value, "position", where, faults)
            if id_ is not None and text is not None:
                yield Document(id_, title, text, source, position)

    def queries(self, faults: Faults) -> Iterator[Query]:
        for where, value in json_objects(self._file("queries.jsonl"), faults):
            id_ = field_of(value, ("_id",), where, faults)
            text = field_of(value, ("text",), where, faults)
            if id_ is not None and text is not None:
                yield Query(id_, text)

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        file = present(self.path / "qrels", f"{split}.tsv")
        if file is None:
            raise DataError(
                f"{self.path} has no judgments for the split {split!r} (qrels/{split}.tsv). "
                f"It has: {', '.join(self.splits()) or 'none'}"
            )
        for where, (query, document, grade, *_) in columns(file, 3, faults):
            if where.endswith(":1") and not grade.lstrip("-").isdigit():
                continue  # the header
            number = integer(grade, "score", where, faults)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return sorted(file.name.partition(".")[0] for file in (self.path / "qrels").glob("*.tsv*"))

    def _file(self, name: str) -> Path:
        file = present(self.path, name)
        if file is None:
            raise DataError(f"{self.path} has no {name} (nor {name}.gz), which BEIR's layout asks for")
        return file
