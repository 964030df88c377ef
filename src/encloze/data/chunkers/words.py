"""Passages of a fixed number of words."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.data.chunkers._packing import pack, sizes_of, words_of
from encloze.data.chunkers.base import Chunker, Passage


@dataclass(frozen=True)
class Words(Chunker, name="words"):
    """Passages of a number of words, wherever sentences end. In scripts without spaces, letters are counted."""

    max_words: int = 100
    """Maximum number of words of a passage."""
    overlap: int = 20
    """Number of words at the end of a passage with which the next one begins."""

    def __post_init__(self) -> None:
        if self.max_words < 1 or not 0 <= self.overlap < self.max_words:
            raise ValueError("max_words must be 1 or more, and overlap from 0 to less than max_words")

    def cut(self, text: str) -> list[Passage]:
        words = words_of(text, 0, len(text), self.max_words)
        return pack(words, sizes_of(text, words), self.max_words, self.overlap)
