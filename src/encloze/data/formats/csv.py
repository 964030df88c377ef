"""A CSV file with a header row and one document per row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.data.delimited import DOCUMENTS, read_table
from encloze.data.formats._rows import RowFormat
from encloze.data.lines import ErrorCollector, uncompressed_suffix


@dataclass(frozen=True)
class Csv(RowFormat, name="csv"):
    """A .csv file, plain or gzipped, whose first row names its columns. Quoted fields may contain line breaks.

    Columns are separated by the first of comma, semicolon and tab that the header row contains.
    """

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.is_file() and uncompressed_suffix(path).lower() == ".csv"

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        return read_table(self.path, errors, DOCUMENTS, (), self.chosen_fields())
