"""Regular expressions that match words in any script, and removal of Hebrew and Arabic vowel points from texts."""

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
"""Regular expression of a word. ``str.format`` replaces ``{marks}`` by the combining marks."""


def strip_vowel_points(text: str) -> str:
    """Return the text without Hebrew and Arabic vowel points (niqqud, harakat), which most people do not type."""
    return _VOWEL_POINTS.sub("", text)


@cache
def token_pattern() -> re.Pattern[str]:
    """Return a pattern that splits a text: each match is one word, or consecutive white space or other characters."""
    return re.compile(rf"{WORD_PATTERN.format(marks=combining_marks())}|\s+|[^\w\s]+")


@cache
def combining_marks() -> str:
    r"""Return a string of all combining marks up to U+FFFF. Regular expressions need it, as ``\w`` matches no marks.

    Marks above U+FFFF (in scripts such as Chakma and Adlam) are left out: they would make matching ten times slower.
    """
    return "".join(character for character in map(chr, range(0x10000)) if unicodedata.category(character)[0] == "M")
