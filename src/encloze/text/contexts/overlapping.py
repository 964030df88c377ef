"""The end of the span and the beginning of the next one (``overlap`` of CoT-MAE, Wu et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, NeighborPairs
from encloze.text.neighbors import OverlapSampler


@dataclass(frozen=True)
class Overlapping(Context, name="overlapping"):
    """The end of the span, followed by the beginning of the next span of the same source document.

    The context begins with the last quarter to half of the tokens of the span, cut at the start of a word. The last
    span of a source document has no next span: its context is the end of the previous span, followed by the first
    quarter to half of the last span. The released code of CoT-MAE takes between one sentence and half of the sentences
    from the end of the span, and samples this number only once. Here the number of tokens is sampled instead, because
    sentence boundaries are unknown, and it is sampled each time that a pair is accessed.
    """

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return NeighborPairs(inputs, OverlapSampler(inputs.spans))
