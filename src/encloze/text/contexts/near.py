"""The previous or next span of the same source document (``nearby`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import AdjacentSampler


@dataclass(frozen=True)
class Near(Context, name="near"):
    """The previous or the next span of the same source document, with equal probability if both exist."""

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return NeighborPairs(inputs, AdjacentSampler(inputs.spans))
