"""TREC's judgments: lines of ``query iteration document grade``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.base import Format
from encloze.data.lines import Faults, columns, integer
from encloze.data.records import Judgment
from encloze.errors import DataError


@dataclass(frozen=True)
class Trec(Format, name="trec"):
    """A file of judgments, enough to measure a run by; any split is that file."""

    rank: ClassVar[int] = 90

    path: Path
    """The file, plain or gzipped."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if not path.is_file():
            return False
        try:
            _, first = next(columns(path, 4, Faults(), separator=None))
        except (DataError, StopIteration):
            return False
        return len(first) == 4 and first[3].lstrip("-").isdigit()

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        for where, (query, _, document, grade, *_) in columns(self.path, 4, faults, separator=None):
            number = integer(grade, "grade", where, faults)
            if number is not None:
                yield Judgment(query, document, number)

    def splits(self) -> list[str]:
        return ["test"]
