"""Letters and combining marks in any script, for regular expressions of words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Hebrew points and accents, but not the punctuation among them; Arabic vowel signs, tanween, shadda, sukun and the
# superscript alef. Arabic hamza and madda form other letters and are kept, as are the breve of Cyrillic and the vowels
# of Indic scripts.
_VOWEL_POINTS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0670\u06d6-\u06dc]"
)

WORD_PATTERN = r"\w+(?:[{marks}]+\w*)*"
"""Regular expression of a word; ``{marks}`` stands for the combining marks."""


def strip_vowel_points(text: str) -> str:
    """Remove Hebrew niqqud and Arabic harakat, which most people do not type."""
    return _VOWEL_POINTS.sub("", text)


@cache
def token_pattern() -> re.Pattern[str]:
    """Return a pattern that splits a whole text into words (with their marks), white space and other characters."""
    return re.compile(rf"{WORD_PATTERN.format(marks=combining_marks())}|\s+|[^\w\s]+")


@cache
def combining_marks() -> str:
    r"""Return all combining marks up to U+FFFF, for use in a regular expression, because ``\w`` matches none of them.

    Marks above U+FFFF, which scripts such as Chakma and Adlam use, would make matching ten times slower.
    """
    return "".join(character for character in map(chr, range(0x10000)) if unicodedata.category(character)[0] == "M")
