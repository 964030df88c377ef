"""Upper or lower case for all letters of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation


@dataclass(frozen=True)
class Case(QueryPerturbation, name="case"):
    """Convert all letters to upper or to lower case."""

    letters: Literal["upper", "lower"] = "upper"
    """Case to which all letters are converted."""

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        return text.upper() if self.letters == "upper" else text.lower()
