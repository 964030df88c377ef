"""Interface of chunkers, which cut long texts into passages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from encloze.family import Family


class Passage(NamedTuple):
    """A part of a text."""

    begin: int
    """Index of its first character in the text."""
    end: int
    """Index of its last character in the text, plus 1."""
    headings: tuple[str, ...] = ()
    """Headings of the sections that it belongs to, the outermost first."""


@dataclass(frozen=True)
class Chunker(Family):
    """Base class of chunkers.

    The passages of a text are in order, begin and end with a visible character, and contain every visible character of
    the text, except for headings. Passages may overlap.

    Example:
        >>> from encloze.data.chunkers.sentences import Sentences
        >>> text = "Rivers flow. They meet the sea. Some freeze."
        >>> [text[p.begin : p.end] for p in Sentences(max_words=6).cut(text)]
        ['Rivers flow. They meet the sea.', 'Some freeze.']
    """

    def cut(self, text: str) -> list[Passage]:
        """Return the passages of a text; none if the text is empty or consists of white space."""
        raise NotImplementedError(type(self).__name__)

    def fingerprint(self) -> str:
        """Return a text that changes if the same settings would cut texts in another way."""
        return ""
