"""Splitting of texts in any script into words, and normalization of texts for comparison."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from encloze.data.letters import WORD_PATTERN, combining_marks, strip_vowel_points

_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_END_PUNCTUATION = " .?!\u3002\uff0e\uff1f\uff01\u061f\u06d4\u0964"  # Latin, Chinese and Japanese, Arabic, Hindi
_JOINERS = re.compile("[\u200c\u200d]")  # zero-width (non-)joiners only shape letters and are not always typed
# Han, Hiragana, Katakana and their half-width forms; Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u103e\u1780-\u17d3"
)


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words.

    Text in scripts without spaces between words (Chinese, Japanese, Thai and others) is split into overlapping pairs of
    letters instead.

    Args:
        text: Text in any script.

    Returns:
        The words in order. Letters keep their combining marks, except Hebrew and Arabic vowel points.

    Example:
        >>> split_words("The river's end")
        ['the', 'river', 's', 'end']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = strip_vowel_points(_JOINERS.sub("", unicodedata.normalize("NFC", text).lower()))
    word, unspaced_run, letter = _patterns()
    if not unspaced_run.search(text):
        return word.findall(text)
    parts = (part for match in word.findall(text) for part in unspaced_run.split(match) if part)
    return [
        token
        for part in parts
        for token in (_letter_pairs(letter.findall(part)) if unspaced_run.match(part) else [part])
    ]


def truncate_words(text: str, max_words: int) -> str:
    """Return the first words of a text.

    Args:
        text: Text in any script.
        max_words: Maximum number of words to keep. In scripts without spaces between words, each letter counts as a
            word.

    Returns:
        The first words, separated by single spaces.

    Example:
        >>> truncate_words("a river flows into the sea", 3)
        'a river flows'
    """
    kept, count = list[str](), 0
    for word in text.split():
        length = max(1, len(split_words(word)))
        if count + length > max_words:
            is_unspaced = length > len(word) // 2  # split into pairs of letters
            return " ".join([*kept, word[: max_words - count]] if is_unspaced and count < max_words else kept)
        kept.append(word)
        count += length
    return " ".join(kept)


def normalize_text(text: str) -> str:
    """Return a text in lower case, with single spaces and without final punctuation, to compare queries.

    Example:
        >>> normalize_text("Where do  rivers end?")
        'where do rivers end'
    """
    normalized = " ".join(text.casefold().split())
    return normalized.rstrip(_END_PUNCTUATION) or normalized


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return three compiled regular expressions.

    The first matches a word. The second matches consecutive letters of a script without spaces between words, such as
    Chinese. The third matches one letter together with its combining marks.
    """
    marks = combining_marks()
    return (
        re.compile(WORD_PATTERN.format(marks=marks)),
        re.compile(rf"([{_UNSPACED}]+)"),
        re.compile(rf".[{marks}]*", re.DOTALL),
    )


def _letter_pairs(letters: list[str]) -> list[str]:
    return ["".join(letters[start : start + 2]) for start in range(max(1, len(letters) - 1))]
