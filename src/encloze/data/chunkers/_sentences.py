"""Division of a text into sentences, in many scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from encloze.data.chunkers._packing import Span, num_words, words_of

# An end of a sentence: punctuation with closing quotes and brackets before a space, that of scripts without spaces, or
# the end of a line.
_END = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964]+[\"'\u2019\u201d\u00bb)\]]*(?=\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\uff09\"]*|\n"
)
_INITIAL = re.compile(
    r"(?:^|[\s(])\w\.$|(?:^|[\s(])(?:[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Ss]t|vs|e\.g|i\.e|cf|[Ff]ig|[Nn]o)\.$"
)
"""Punctuation that does not end a sentence: after a single letter, and after some frequent abbreviations."""


def sentences_of(text: str) -> Iterator[Span]:
    """Yield begin and end of the sentences of a text, without the spaces between them.

    Sentences end at punctuation of many scripts, and at line breaks, unless the next one begins with a lower-case
    letter. There is no dictionary of abbreviations except for a few English ones.
    """
    begin = 0
    for match in _END.finditer(text):
        following = (
            text[match.end() :].lstrip()[:1] if match[0] == "\n" else text[match.end() : match.end() + 80].lstrip()[:1]
        )
        if following.islower() or _INITIAL.search(text, max(begin, match.end() - 12), match.end()):
            continue
        yield from _trimmed(text, begin, match.end())
        begin = match.end()
    yield from _trimmed(text, begin, len(text))


def _trimmed(text: str, begin: int, end: int) -> Iterator[Span]:
    """Yield a part without white space at its ends, unless nothing is left."""
    part = text[begin:end]
    if stripped := part.strip():
        begin += len(part) - len(part.lstrip())
        yield begin, begin + len(stripped)


def short_sentences(text: str, begin: int, end: int, max_words: int) -> list[Span]:
    """Return the sentences in a part of a text; what is longer than ``max_words`` is divided into its words."""
    parts = list[Span]()
    for first, last in sentences_of(text[begin:end]):
        span = begin + first, begin + last
        parts += words_of(text, *span, max_words) if num_words(text[slice(*span)]) > max_words else [span]
    return parts
