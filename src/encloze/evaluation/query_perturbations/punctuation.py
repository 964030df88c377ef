"""Punctuation that was left out, or that nobody needed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_share, part_of

_INSIDE_WORDS = "'\u2019\u05f3\u05f4"  # apostrophes, geresh, gershayim: nothing takes their place
_TYPED_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])')  # as keyboards have them
_SIGNS = ",.;:!?-"


@dataclass(frozen=True)
class Punctuation(QueryPerturbation, name="punctuation"):
    """Signs between words vanish, or come where none were."""

    mode: Literal["remove", "add"] = "remove"
    """Whether all signs vanish (and leave a blank, except apostrophes), or some are added after words."""
    word_fraction: float = 0.25
    """The share of the words that get a sign where some are added, rounded up."""

    def __post_init__(self) -> None:
        check_share("word_fraction", self.word_fraction)

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        if self.mode == "remove":
            signs = {sign for sign in text if unicodedata.category(sign).startswith("P")}
            if not signs:
                return text
            text = _TYPED_GERSHAYIM.sub("", text)
            return " ".join("".join("" if s in _INSIDE_WORDS else " " if s in signs else s for s in text).split())
        words = text.split(" ")
        filled = [at for at, word in enumerate(words) if word]
        for at in draw.some(filled, part_of(len(filled), self.word_fraction)):
            words[at] += draw.one(_SIGNS)
        return " ".join(words)
