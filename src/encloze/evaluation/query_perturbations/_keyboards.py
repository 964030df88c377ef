"""Keyboards: which keys are neighbours, from the rows of letters of the usual layouts."""

from __future__ import annotations

import functools
from typing import Literal

Layout = Literal["qwerty", "qwertz", "azerty", "hebrew", "arabic", "russian", "greek"]

# The three rows of letters of each, from the left; a blank is a key without a letter. In Arabic, lam-alef is one key.
_ROWS: dict[Layout, tuple[str, str, str]] = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklmù", "wxcvbn"),
    "hebrew": ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
    "arabic": ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤر ىةوزظ"),
    "russian": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    "greek": (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
}
# How far to the right of the first row's keys those of a row stand, in keys.
_SHIFTS = (0.0, 0.25, 0.75)


@functools.cache
def neighbours(layout: Layout) -> dict[str, str]:
    """The letters on the keys that touch each letter's key."""
    places = {
        letter: (column + shift, row)
        for row, (letters, shift) in enumerate(zip(_ROWS[layout], _SHIFTS, strict=True))
        for column, letter in enumerate(letters)
        if letter != " "
    }
    return {
        letter: "".join(
            other
            for other, (column, row) in places.items()
            if other != letter and abs(row - place[1]) <= 1 and abs(column - place[0]) <= 1
        )
        for letter, place in places.items()
    }


def layout_of(word: str) -> Layout:
    """The layout with the most of a word's letters, the first of several."""
    return max(_ROWS, key=lambda layout: sum(letter in neighbours(layout) for letter in word.lower()))
