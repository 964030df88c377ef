"""A JSON Lines file with one document per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.data.formats._rows import RowFormat
from encloze.data.lines import ErrorCollector, read_json_lines, uncompressed_suffix


@dataclass(frozen=True)
class Jsonl(RowFormat, name="jsonl"):
    """A .jsonl file, plain or gzipped. The id of a document without an id field is its line number, counted from 0."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_file() and uncompressed_suffix(path) in (".jsonl", ".ndjson")

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        return read_json_lines(self.path, errors)
