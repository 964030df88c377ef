"""The span before or after (CoT-MAE's nearby)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, Material, Neighbours, Pairs
from encloze.text.neighbours import Beside


@dataclass(frozen=True)
class Near(Context, name="near"):
    """The previous or the next span of the same source, drawn evenly from those that exist."""

    def pairs(self, material: Material) -> Pairs:
        return Neighbours(material, Beside(material.spans))
