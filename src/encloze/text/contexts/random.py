"""Any other span of the same source document (``random_sampled`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import WindowSampler


@dataclass(frozen=True)
class Random(Context, name="random"):
    """Another span of the same source document, sampled uniformly each time that a pair is accessed.

    In the released code of CoT-MAE, the other span is sampled only once and then stays the same.
    """

    max_distance: int = 100
    """Maximum distance of the context from the span: 1 for the previous or next span only. CoT-MAE uses 100."""

    def __post_init__(self) -> None:
        if self.max_distance < 1:
            raise ValueError(f"max_distance must be 1 or more, not {self.max_distance}")

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return NeighborPairs(inputs, WindowSampler(inputs.spans, self.max_distance))
