"""Parquet files with one document per row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.data.arrow_rows import parquet_files, read_parquet
from encloze.data.formats._rows import RowFormat
from encloze.data.lines import ErrorCollector


@dataclass(frozen=True)
class Parquet(RowFormat, name="parquet"):
    """A .parquet file, or a folder of them, which are all read in the order of their names."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return path.suffix.lower() == ".parquet" if path.is_file() else bool(parquet_files(path))

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        return read_parquet(self.document_files(), errors)

    def document_files(self) -> list[Path]:
        return parquet_files(self.path)
