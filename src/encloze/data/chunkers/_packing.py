"""Packing of small parts of a text, such as sentences or words, into passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from encloze.data.chunkers.base import Passage
from encloze.data.words import split_words

_WORD = re.compile(r"\S+")

Span = tuple[int, int]
"""Begin and end of a part of a text, in characters."""


def num_words(text: str) -> int:
    """Return the number of words of a text. In scripts without spaces, it is about the number of letters."""
    return max(1, len(split_words(text)))


def words_of(text: str, begin: int, end: int, max_words: int) -> list[Span]:
    """Return the words in a part of a text. What has more words than a passage, without a space, is divided."""
    spans = list[Span]()
    for match in _WORD.finditer(text, begin, end):
        first, last = match.span()
        step = last - first if num_words(match[0]) <= max_words else max_words
        spans += [(start, min(start + step, last)) for start in range(first, last, step)]
    return spans


def pack(
    text: str, parts: Sequence[Span], limit: int, overlap: int, size: Callable[[str], int] = num_words
) -> list[Passage]:
    """Join consecutive parts of a text to passages, each as long as possible.

    Args:
        text: The text.
        parts: Begin and end of the parts, in order. Each should be at most ``limit`` long.
        limit: Maximum size of a passage.
        overlap: Number of parts at the end of a passage with which the next one begins, as long as it has at least one
            other part.
        size: Function that returns the size of a part.
    """
    sizes = [size(text[begin:end]) for begin, end in parts]
    passages, first = list[Passage](), 0
    while first < len(parts):
        last, total = first + 1, sizes[first]
        while last < len(parts) and total + sizes[last] <= limit:
            total += sizes[last]
            last += 1
        passages.append(Passage(parts[first][0], parts[last - 1][1]))
        if last == len(parts):
            break
        start = max(first + 1, last - overlap)
        while start < last and sum(sizes[start : last + 1]) > limit:
            start += 1  # otherwise the next passage would contain nothing new
        first = start
    return passages
