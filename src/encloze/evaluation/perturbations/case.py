"""Capital letters, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encloze.evaluation.draw import Draw
from encloze.evaluation.perturbations.base import Perturbation


@dataclass(frozen=True)
class Case(Perturbation, name="case"):
    """All letters become capitals, or small ones."""

    letters: Literal["upper", "lower"] = "upper"
    """Which letters all become."""

    def perturb(self, text: str, draw: Draw) -> str:
        return text.upper() if self.letters == "upper" else text.lower()
