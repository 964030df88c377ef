"""Marks on letters that many people do not type: accents, niqqud, harakat."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from encloze.data.letters import without_points
from encloze.evaluation.draw import Draw
from encloze.evaluation.perturbations._letters import letters_of
from encloze.evaluation.perturbations.base import Perturbation

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
