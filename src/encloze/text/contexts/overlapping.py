"""The end of the span and the beginning of the next one (``overlap`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import OverlapSampler


@dataclass(frozen=True)
class Overlapping(Context, name="overlapping"):
    """The last quarter to half of the span, beginning at a word, followed by the beginning of the next span.

    For the last span of a source document: the end of the previous span followed by the first quarter to half of the
    span. The released code of CoT-MAE takes from one sentence to half of the sentences, and samples that number once.
    Here the length is measured in tokens, because sentence boundaries are unknown, and sampled on each access.
    """

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return NeighborPairs(inputs, OverlapSampler(inputs.spans))
