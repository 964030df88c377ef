"""Words of any script, with the marks that belong to their letters; what two texts of the same words share."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from encloze.data.letters import WORD, marks, without_points

_ASCII = re.compile(r"\w+", re.ASCII)
_ENDS = " .?!\u3002\uff0e\uff1f\uff01\u061f\u06d4\u0964"  # with those of Chinese and Japanese, Arabic, Hindi
_JOINERS = re.compile("[\u200c\u200d]")  # they shape letters, and some type them and some do not
# Han, Hiragana, Katakana and their half-width forms; Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u103e\u1780-\u17d3"
)


def words_of(text: str) -> list[str]:
    """Lower-cased words in order; pairs of letters in scripts that put no blanks between words."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    text = without_points(_JOINERS.sub("", unicodedata.normalize("NFC", text).lower()))
    word, unspaced, letter = _patterns()
    if not unspaced.search(text):
        return word.findall(text)
    parts = (part for found in word.findall(text) for part in unspaced.split(found) if part)
    return [pair for part in parts for pair in (_pairs(letter.findall(part)) if unspaced.match(part) else [part])]


def first_words(text: str, count: int) -> str:
    """The beginning of a text, with so many words at most; where a script has no blanks, letters are words."""
    found, held = list[str](), 0
    for word in text.split():
        weight = max(1, len(words_of(word)))
        if held + weight > count:
            no_blanks = weight > len(word) // 2  # pairs of letters
            return " ".join([*found, word[: count - held]] if no_blanks and held < count else found)
        found.append(word)
        held += weight
    return " ".join(found)


def normalized(text: str) -> str:
    """What two texts share that ask or say the same: all but capitals, blanks and the signs at the end."""
    words = " ".join(text.casefold().split())
    return words.rstrip(_ENDS) or words


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Words; runs of scripts without blanks; letters with their marks."""
    held = marks()
    return re.compile(WORD.format(marks=held)), re.compile(rf"([{_UNSPACED}]+)"), re.compile(rf".[{held}]*", re.DOTALL)


def _pairs(letters: list[str]) -> list[str]:
    return ["".join(letters[at : at + 2]) for at in range(max(1, len(letters) - 1))]
