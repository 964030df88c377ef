"""Letters and the marks that belong to them, in any script."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Hebrew's points and accents, but no punctuation between them; Arabic's signs for vowels, tanween, shadda, sukun and
# the small alef. Its hamza and madda make other letters and stay, as do Cyrillic's breve and vowels of Indic scripts.
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0670\u06d6-\u06dc]")

WORD = r"\w+(?:[{marks}]+\w*)*"
"""The regular expression of a word, once it has its marks."""


def without_points(text: str) -> str:
    """Hebrew without niqqud, Arabic without harakat: most people type none."""
    return _POINTS.sub("", text)


@cache
def words_and_rest() -> re.Pattern[str]:
    """Words with the marks in them, blanks, and other signs: all of a text, one after the other."""
    return re.compile(rf"{WORD.format(marks=marks())}|\s+|[^\w\s]+")


@cache
def marks() -> str:
    """All combining characters, to stand in a class of a regular expression: ``\\w`` has none of them.

    Those beyond U+FFFF, of scripts such as Chakma and Adlam, would make the class ten times as slow.
    """
    return "".join(letter for letter in map(chr, range(0x10000)) if unicodedata.category(letter)[0] == "M")
