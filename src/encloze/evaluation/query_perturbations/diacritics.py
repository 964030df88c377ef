"""Removal of diacritics that are often not typed: accents, niqqud and harakat."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from encloze.data.letters import strip_vowel_points
from encloze.evaluation.graphemes import split_graphemes
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation

_ACCENTED_SCRIPTS = ("LATIN", "GREEK")


@dataclass(frozen=True)
class Diacritics(QueryPerturbation, name="diacritics"):
    """Remove accents from Latin and Greek letters, and vowel points from Hebrew (niqqud) and Arabic (harakat)."""

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        return "".join(_strip_marks(grapheme) for grapheme in split_graphemes(text))


def _strip_marks(grapheme: str) -> str:
    if unicodedata.name(grapheme[0], "").startswith(_ACCENTED_SCRIPTS):
        parts = unicodedata.normalize("NFD", grapheme)
        return "".join(part for part in parts if not unicodedata.category(part).startswith("M"))
    return strip_vowel_points(grapheme)
