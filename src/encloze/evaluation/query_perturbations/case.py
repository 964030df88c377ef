"""Capital letters, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation


@dataclass(frozen=True)
class Case(QueryPerturbation, name="case"):
    """All letters become capitals, or small ones."""

    letters: Literal["upper", "lower"] = "upper"
    """Which letters all become."""

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        return text.upper() if self.letters == "upper" else text.lower()
