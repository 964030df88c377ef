"""Removal of punctuation, or addition of superfluous punctuation marks after words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_fraction, count_of_fraction

_INSIDE_WORDS = "'\u2019\u05f3\u05f4"  # apostrophes, geresh and gershayim are removed without leaving a blank
_TYPED_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])')  # keyboards have " in place of gershayim
_ADDED = ",.;:!?-"


@dataclass(frozen=True)
class Punctuation(QueryPerturbation, name="punctuation"):
    """Remove all punctuation, or add punctuation marks after some words."""

    mode: Literal["remove", "add"] = "remove"
    """``remove`` deletes apostrophes and replaces other punctuation marks by blanks; ``add`` appends a mark to
    some words."""
    word_fraction: float = 0.25
    """With mode ``add``, fraction of the words that get a mark, above 0 and at most 1. The number of words is rounded
    up."""

    def __post_init__(self) -> None:
        check_fraction("word_fraction", self.word_fraction)

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        if self.mode == "remove":
            marks = {character for character in text if unicodedata.category(character).startswith("P")}
            if not marks:
                return text
            text = _TYPED_GERSHAYIM.sub("", text)
            return " ".join("".join("" if c in _INSIDE_WORDS else " " if c in marks else c for c in text).split())
        words = text.split(" ")
        positions = [position for position, word in enumerate(words) if word]
        for position in rng.sample(positions, count_of_fraction(len(positions), self.word_fraction)):
            words[position] += rng.choice(_ADDED)
        return " ".join(words)
