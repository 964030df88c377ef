"""Words of any script, with their vowel signs; pairs of letters where a script puts no blanks between words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from encloze.data.letters import WORD, marks, without_points
from encloze.search.analyzers.base import Analyzer

_ASCII = re.compile(r"\w+", re.ASCII)
_JOINERS = re.compile("[\u200c\u200d]")  # they shape letters, and some type them and some do not
# Han, Hiragana, Katakana and their half-width forms; Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u103e\u1780-\u17d3"
)


@dataclass(frozen=True)
class Unicode(Analyzer, name="unicode"):
    r"""Runs of letters with their marks and of digits, without niqqud and harakat.

    ``plain`` has no marks in its words, as ``\w`` of Python has none: it cuts a word of Hindi at its vowel signs, and
    pointed Hebrew into single letters. Most texts of other scripts come out the same with both.
    """

    def words(self, text: str) -> list[str]:
        if text.isascii():
            return _ASCII.findall(text.lower())
        text = without_points(_JOINERS.sub("", unicodedata.normalize("NFC", text).lower()))
        word, unspaced, letter = _patterns()
        if not unspaced.search(text):
            return word.findall(text)
        parts = (part for found in word.findall(text) for part in unspaced.split(found) if part)
        return [pair for part in parts for pair in (_pairs(letter.findall(part)) if unspaced.match(part) else [part])]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Words; runs of scripts without blanks; letters with their marks."""
    held = marks()
    return re.compile(WORD.format(marks=held)), re.compile(rf"([{_UNSPACED}]+)"), re.compile(rf".[{held}]*", re.DOTALL)


def _pairs(letters: list[str]) -> list[str]:
    return ["".join(letters[at : at + 2]) for at in range(max(1, len(letters) - 1))]
