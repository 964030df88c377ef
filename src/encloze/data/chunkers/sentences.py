"""Passages of whole sentences."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.data.chunkers._packing import pack, sizes_of
from encloze.data.chunkers._sentences import short_sentences
from encloze.data.chunkers.base import Chunker, Passage


@dataclass(frozen=True)
class Sentences(Chunker, name="sentences"):
    """Passages of whole sentences, as many as fit. A longer sentence is divided between words."""

    max_words: int = 100
    """Maximum number of words of a passage. In scripts without spaces, letters are counted."""
    overlap: int = 0
    """Number of sentences at the end of a passage with which the next one begins."""

    def __post_init__(self) -> None:
        if self.max_words < 1 or self.overlap < 0:
            raise ValueError("max_words must be 1 or more, and overlap 0 or more")

    def cut(self, text: str) -> list[Passage]:
        parts = short_sentences(text, 0, len(text), self.max_words)
        return pack(parts, sizes_of(text, parts), self.max_words, self.overlap, [1] * len(parts))
