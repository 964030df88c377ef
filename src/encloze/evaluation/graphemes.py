"""Splitting of texts into words and letters. Each letter keeps its combining marks."""

from __future__ import annotations

import itertools
import unicodedata

Graphemes = list[str]
"""Letters of a text. Vowel signs, niqqud and accents belong to the letter that they follow."""


def split_graphemes(text: str) -> Graphemes:
    """Return the characters of a text, each with the combining marks that follow it.

    Example:
        >>> len(split_graphemes("e\\u0301a"))
        2
    """
    graphemes: Graphemes = []
    for character in text:
        if graphemes and unicodedata.category(character).startswith("M"):
            graphemes[-1] += character
        else:
            graphemes.append(character)
    return graphemes


def split_words(text: str) -> list[Graphemes]:
    """Split a text into segments: words (letters and digits) alternate with the separators between them."""
    groups = itertools.groupby(split_graphemes(text), key=lambda grapheme: grapheme[0].isalnum())
    return [list(group) for _, group in groups]


def is_word(segment: Graphemes) -> bool:
    """Return whether a segment that ``split_words`` returned is a word; otherwise it is a separator."""
    return segment[0][0].isalnum()


def join_segments(segments: list[Graphemes]) -> str:
    """Join the segments that ``split_words`` returned into one text."""
    return "".join(grapheme for segment in segments for grapheme in segment)
