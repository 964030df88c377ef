"""Any other span of the same source (CoT-MAE's random_sampled)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, Material, Neighbours, Pairs
from encloze.text.neighbours import Within


@dataclass(frozen=True)
class Random(Context, name="random"):
    """Any other span of the same source, evenly, anew at each access (the released code draws it once)."""

    reach: int = 100
    """How many spans away it may be; CoT-MAE's is 100."""

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise ValueError(f"reach must be 1 or more, not {self.reach}")

    def pairs(self, material: Material) -> Pairs:
        return Neighbours(material, Within(material.spans, self.reach))
