"""Words cut to their stems by Snowball (Porter, 2001), without stop words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from encloze.data.words import words_of
from encloze.family import nearest
from encloze.search.analyzers.base import Analyzer

# The function words of English, that stand in most texts and tell little: the list of Lucene's EnglishAnalyzer.
_ENGLISH = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
    "this to was will with".split()
)


@dataclass(frozen=True)
class Stemmed(Analyzer, name="stemmed"):
    """Snowball's stemmer for one language; English also loses its stop words."""

    language: str = "english"
    """Any language of Snowball: english, german, french, russian, arabic, hindi ..."""

    def __post_init__(self) -> None:
        import Stemmer

        if self.language not in Stemmer.algorithms():
            raise ValueError(f"no stemmer for {self.language!r}; {nearest(self.language, Stemmer.algorithms())}")

    @cached_property
    def _stemmer(self) -> Any:
        import Stemmer

        return Stemmer.Stemmer(self.language)

    def words(self, text: str) -> list[str]:
        found = words_of(text)
        if self.language == "english":
            found = [word for word in found if word not in _ENGLISH]
        stems: list[str] = self._stemmer.stemWords(found)
        return stems
