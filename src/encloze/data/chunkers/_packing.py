"""Packing of small parts of a text, such as sentences or words, into passages."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    parts: Sequence[Span], sizes: Sequence[int], limit: int, overlap: int, shared_sizes: Sequence[int] | None = None
) -> list[Passage]:
    """Join consecutive parts of a text to passages, each as long as possible.

    Args:
        parts: Begin and end of the parts, in order.
        sizes: Size of each part. It should be at most ``limit``.
        limit: Maximum size of a passage.
        overlap: Maximum size of the end of a passage with which the next one begins.
        shared_sizes: Size of each part in such an end, such as 1 to count parts; by default ``sizes``.
    """
    shared_sizes = sizes if shared_sizes is None else shared_sizes
    passages, first = list[Passage](), 0
    while first < len(parts):
        last, total = first + 1, sizes[first]
        while last < len(parts) and total + sizes[last] <= limit:
            total += sizes[last]
            last += 1
        passages.append(Passage(parts[first][0], parts[last - 1][1]))
        if last == len(parts):
            break
        start, shared, total = last, 0, sizes[last]  # the next passage must contain a part that is new
        while start > first + 1 and shared + shared_sizes[start - 1] <= overlap and total + sizes[start - 1] <= limit:
            start -= 1
            shared, total = shared + shared_sizes[start], total + sizes[start]
        first = start
    return passages


def sizes_of(text: str, parts: Sequence[Span]) -> list[int]:
    """Return the number of words of each part of a text."""
    return [num_words(text[begin:end]) for begin, end in parts]
