"""CoNLL format: one word and its tag per line, and a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.labels.base import LabelFormat
from encloze.data.lines import ErrorCollector, read_all_lines
from encloze.data.records import LabeledText

_DOCUMENT_START = "-DOCSTART-"  # first line of a document in CoNLL-2003
_SEPARATOR = re.compile("[ \t]+")  # no other white space: a no-break space may be a word


@dataclass(frozen=True)
class Conll(LabelFormat, name="conll"):
    """Files train.conll, dev.conll and test.conll. The first column of a line is the word, the last one its tag.

    Columns are separated by spaces or tabs.
    """

    extension: ClassVar[str] = "conll"

    def examples(self, file: Path, errors: ErrorCollector) -> Iterator[tuple[str, LabeledText]]:
        start, words, tags = "", list[str](), list[str]()
        for location, line in read_all_lines(file):
            columns = _SEPARATOR.split(line.strip(" \t"))
            if columns[0] in ("", _DOCUMENT_START):
                if words:
                    yield start, _sentence(words, tags)
                words, tags = [], []
            elif len(columns) < 2:
                errors.add(location, f"expected a word and its tag, found only {columns[0]!r}")
            else:
                start = start if words else location
                words.append(columns[0])
                tags.append(columns[-1])
        if words:
            yield start, _sentence(words, tags)


def _sentence(words: list[str], tags: list[str]) -> LabeledText:
    return LabeledText(" ".join(words), tuple(tags), tuple(words))
