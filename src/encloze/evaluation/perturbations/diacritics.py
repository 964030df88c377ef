"""Marks on letters that many people do not type: accents, niqqud, harakat."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from encloze.evaluation.draw import Draw
from encloze.evaluation.perturbations._letters import letters_of
from encloze.evaluation.perturbations.base import Perturbation

# Hebrew's points and accents, but no punctuation between them; Arabic's signs for vowels, tanween, shadda, sukun and
# the small alef. Its hamza and madda make other letters and stay, as do Cyrillic's breve and vowels of Indic scripts.
_MARKS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u0652\u0670\u06d6-\u06dc]")
_ACCENTED = ("LATIN", "GREEK")


@dataclass(frozen=True)
class Diacritics(Perturbation, name="diacritics"):
    """Latin and Greek letters lose their accents, Hebrew its niqqud, Arabic its harakat."""

    def perturb(self, text: str, draw: Draw) -> str:
        return "".join(_bare(letter) for letter in letters_of(text))


def _bare(letter: str) -> str:
    if unicodedata.name(letter[0], "").startswith(_ACCENTED):
        parts = unicodedata.normalize("NFD", letter)
        return "".join(part for part in parts if not unicodedata.category(part).startswith("M"))
    return without_points(letter)


def without_points(text: str) -> str:
    """Hebrew without niqqud, Arabic without harakat."""
    return _MARKS.sub("", text)
