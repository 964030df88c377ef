"""Tab-separated files: a text and its label on each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.labels.base import Labels
from encloze.data.lines import Faults, columns
from encloze.data.records import Labelled


@dataclass(frozen=True)
class Tsv(Labels, name="tsv"):
    """Files train.tsv, dev.tsv and test.tsv of text, tab, label; a first line whose label is "label" is a header."""

    ending: ClassVar[str] = "tsv"

    def examples(self, file: Path, faults: Faults) -> Iterator[tuple[str, Labelled]]:
        for number, (where, (text, label, *more)) in enumerate(columns(file, 2, faults)):
            if more:
                faults.add(where, f"2 tab-separated columns were expected, found {len(more) + 2}")
            elif number or label.lower() != "label":
                yield where, Labelled(text, (label,))
