"""Analyzer that reduces words to their stems by Snowball (Porter, 2001), and removes English stop words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from encloze.data.words import split_words
from encloze.family import nearest
from encloze.search.analyzers.base import Analyzer

# The stop words of Lucene's EnglishAnalyzer.
_ENGLISH_STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
    "this to was will with".split()
)


@dataclass(frozen=True)
class Stemmed(Analyzer, name="stemmed"):
    """Analyzer with Snowball stemming for one language; for English, stop words are removed."""

    language: str = "english"
    """Language of the Snowball stemmer, for example english, german, french, russian, arabic or hindi."""

    def __post_init__(self) -> None:
        import Stemmer

        if self.language not in Stemmer.algorithms():
            raise ValueError(f"no stemmer for {self.language!r}; {nearest(self.language, Stemmer.algorithms())}")

    @cached_property
    def _stemmer(self) -> Any:
        import Stemmer

        return Stemmer.Stemmer(self.language)

    def words(self, text: str) -> list[str]:
        """Return the terms of a text in order, including repeated terms."""
        words = split_words(text)
        if self.language == "english":
            words = [word for word in words if word not in _ENGLISH_STOP_WORDS]
        stems: list[str] = self._stemmer.stemWords(words)
        return stems
