"""The mean length of term weights: few weights, whichever they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses._sparsity import Sparsity
from encloze.losses.base import Scored


@dataclass(frozen=True)
class L1(Sparsity, name="l1"):
    """The sum of a text's weights, averaged over the texts; efficient SPLADE takes it for queries."""

    weight: float = 1e-3
    """What it counts in the sum that is lowered, once it has set in."""

    def sum(self, scored: Scored) -> Tensor:
        return self.weights(scored).abs().sum(dim=1).mean() * len(scored.scores)
