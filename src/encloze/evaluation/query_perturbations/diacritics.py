"""Marks on letters that many people do not type: accents, niqqud, harakat."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from encloze.data.letters import without_points
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._letters import letters_of
from encloze.evaluation.query_perturbations.base import QueryPerturbation

_ACCENTED = ("LATIN", "GREEK")


@dataclass(frozen=True)
class Diacritics(QueryPerturbation, name="diacritics"):
    """Latin and Greek letters lose their accents, Hebrew its niqqud, Arabic its harakat."""

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        return "".join(_bare(letter) for letter in letters_of(text))


def _bare(letter: str) -> str:
    if unicodedata.name(letter[0], "").startswith(_ACCENTED):
        parts = unicodedata.normalize("NFD", letter)
        return "".join(part for part in parts if not unicodedata.category(part).startswith("M"))
    return without_points(letter)
