"""A near, an overlapping or a random span, evenly drawn at each access (CoT-MAE's mixed)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, Material, Neighbours, Pairs
from encloze.text.neighbours import Across, Beside, Within


@dataclass(frozen=True)
class Mixed(Context, name="mixed"):
    """One of the contexts near, overlapping and random at each access, which is what CoT-MAE is trained with."""

    reach: int = 100
    """How many spans away a random one may be; CoT-MAE's is 100."""

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise ValueError(f"reach must be 1 or more, not {self.reach}")

    def pairs(self, material: Material) -> Pairs:
        spans = material.spans
        return Neighbours(material, Beside(spans), Across(spans), Within(spans, self.reach))
