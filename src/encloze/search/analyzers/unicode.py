"""Words of any script, with their vowel signs; pairs of letters where a script puts no blanks between words."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.data.words import words_of
from encloze.search.analyzers.base import Analyzer


@dataclass(frozen=True)
class Unicode(Analyzer, name="unicode"):
    r"""Runs of letters with their marks and of digits, without niqqud and harakat.

    ``plain`` has no marks in its words, as ``\w`` of Python has none: it cuts a word of Hindi at its vowel signs, and
    pointed Hebrew into single letters. Most texts of other scripts come out the same with both.
    """

    def words(self, text: str) -> list[str]:
        return words_of(text)
