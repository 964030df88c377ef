"""Near, overlapping or random context, chosen at random for each access (``mixed`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import AdjacentSampler, OverlapSampler, WindowSampler


@dataclass(frozen=True)
class Mixed(Context, name="mixed"):
    """One of the contexts near, overlapping and random, chosen at random each time that a pair is accessed."""

    max_distance: int = 100
    """Maximum distance of a random context from the span: 1 for the previous or next span only. CoT-MAE uses 100."""

    def __post_init__(self) -> None:
        if self.max_distance < 1:
            raise ValueError(f"max_distance must be 1 or more, not {self.max_distance}")

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        spans = inputs.spans
        samplers = AdjacentSampler(spans), OverlapSampler(spans), WindowSampler(spans, self.max_distance)
        return NeighborPairs(inputs, *samplers)
