"""CoNLL's files: a word and its tag on each line, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.labels.base import Labels
from encloze.data.lines import Faults, every_line
from encloze.data.records import Labelled

_DOCUMENT = "-DOCSTART-"  # where a document begins, in CoNLL-2003
_BETWEEN = re.compile("[ \t]+")  # and no other blanks: a no-break space may be a word


@dataclass(frozen=True)
class Conll(Labels, name="conll"):
    """Files train.conll, dev.conll and test.conll of columns by blanks or tabs: the word first, its tag last."""

    ending: ClassVar[str] = "conll"

    def examples(self, file: Path, faults: Faults) -> Iterator[tuple[str, Labelled]]:
        begin, words, tags = "", list[str](), list[str]()
        for where, line in every_line(file):
            columns = _BETWEEN.split(line.strip(" \t"))
            if columns[0] in ("", _DOCUMENT):
                if words:
                    yield begin, _sentence(words, tags)
                words, tags = [], []
            elif len(columns) < 2:
                faults.add(where, f"a word and its tag were expected, found {columns[0]!r} alone")
            else:
                begin = begin if words else where
                words.append(columns[0])
                tags.append(columns[-1])
        if words:
            yield begin, _sentence(words, tags)


def _sentence(words: list[str], tags: list[str]) -> Labelled:
    return Labelled(" ".join(words), tuple(tags), tuple(words))
