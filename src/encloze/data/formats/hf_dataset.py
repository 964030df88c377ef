"""Datasets of the package datasets of Hugging Face, as saved by its method save_to_disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from encloze.data.arrow_rows import is_saved_dataset, read_saved_dataset
from encloze.data.formats._rows import RowFormat
from encloze.data.lines import ErrorCollector


@dataclass(frozen=True)
class HfDataset(RowFormat, name="hf_dataset"):
    """A folder that ``save_to_disk`` of the package datasets wrote, with one document per row.

    The package datasets is not needed. Data sets on the Hugging Face hub are loaded with it in Python and passed as
    they are: ``Corpus.load(datasets.load_dataset(...))``.
    """

    recognition_order: ClassVar[int] = 20

    split: str | None = None
    """Split to read; required if the folder is a DatasetDict with several splits."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return is_saved_dataset(path)

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        return read_saved_dataset(self.path, self.split, errors)
