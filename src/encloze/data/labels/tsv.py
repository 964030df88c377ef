"""Tab-separated format: one text and its label per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.labels.base import LabelFormat
from encloze.data.lines import ErrorCollector, read_columns
from encloze.data.records import LabeledText


@dataclass(frozen=True)
class Tsv(LabelFormat, name="tsv"):
    """Files train.tsv, dev.tsv and test.tsv with two tab-separated columns: a text and its label.

    The first line is skipped as a header if its second column is the word "label".
    """

    extension: ClassVar[str] = "tsv"

    def examples(self, file: Path, errors: ErrorCollector) -> Iterator[tuple[str, LabeledText]]:
        for number, (location, (text, label, *rest)) in enumerate(read_columns(file, 2, errors)):
            if rest:
                errors.add(location, f"expected 2 tab-separated columns, found {len(rest) + 2}")
            elif number or label.lower() != "label":
                yield location, LabeledText(text, (label,))
