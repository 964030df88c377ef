"""The end of the span and the beginning of the next one (``overlap`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import OverlapSampler


@dataclass(frozen=True)
class Overlapping(Context, name="overlapping"):
    """The end of the span (its last quarter to half, from a word start), followed by the beginning of the next span.

    For the last span of a source document, it is the end of the previous span, followed by the first quarter to half
    of the last span. The released code of CoT-MAE measures the length in sentences, from one sentence to half of them,
    and samples it only once. Here the length is measured in tokens, because sentence boundaries are unknown, and it is
    sampled each time that a pair is accessed.
    """

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return NeighborPairs(inputs, OverlapSampler(inputs.spans))
