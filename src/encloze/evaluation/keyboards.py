"""Keyboard layouts and the letters on adjacent keys."""

from __future__ import annotations

import functools
from typing import Literal

Layout = Literal["qwerty", "qwertz", "azerty", "hebrew", "arabic", "russian", "greek"]

# The three rows of letters of each layout, from left to right. A blank is a key without a letter. In the Arabic layout,
# lam-alef is one key.
_ROWS: dict[Layout, tuple[str, str, str]] = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklmù", "wxcvbn"),
    "hebrew": ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
    "arabic": ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤر ىةوزظ"),
    "russian": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    "greek": (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
}
# Horizontal offset of each row from the first one, in widths of a key.
_OFFSETS = (0.0, 0.25, 0.75)


@functools.cache
def adjacent_letters(layout: Layout) -> dict[str, str]:
    """Return, for each letter of a layout, the letters on the adjacent keys.

    Args:
        layout: Name of a keyboard layout.

    Returns:
        For each lower-case letter of the layout, a string of the letters on adjacent keys.

    Example:
        >>> sorted(adjacent_letters("qwerty")["q"])
        ['a', 'w']
    """
    positions = {
        letter: (column + offset, row)
        for row, (letters, offset) in enumerate(zip(_ROWS[layout], _OFFSETS, strict=True))
        for column, letter in enumerate(letters)
        if letter != " "
    }
    return {
        letter: "".join(
            other
            for other, (column, row) in positions.items()
            if other != letter and abs(row - position[1]) <= 1 and abs(column - position[0]) <= 1
        )
        for letter, position in positions.items()
    }


def detect_layout(word: str) -> Layout:
    """Return the layout that contains the most letters of a word; the first one if several contain equally many."""
    return max(_ROWS, key=lambda layout: sum(letter in adjacent_letters(layout) for letter in word.lower()))
