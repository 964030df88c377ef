"""Tab-separated format: one text and its label per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.delimited import read_rows
from encloze.data.labels.base import LabelFormat
from encloze.data.lines import ErrorCollector
from encloze.data.records import LabeledText


@dataclass(frozen=True)
class Tsv(LabelFormat, name="tsv"):
    """Files train.tsv, dev.tsv and test.tsv with two tab-separated columns: a text and its label.

    The first line is skipped as a header if its second column is the word "label".
    """

    extension: ClassVar[str] = "tsv"

    def examples(self, file: Path, errors: ErrorCollector) -> Iterator[tuple[str, LabeledText]]:
        for number, (location, values) in enumerate(read_rows(file, errors)):
            if len(values) != 2:
                errors.add(location, f"expected 2 tab-separated columns, found {len(values)}")
            elif number or values[1].lower() != "label":
                yield location, LabeledText(values[0], (values[1],))
