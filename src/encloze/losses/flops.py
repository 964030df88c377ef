"""The FLOPS regulariser (Paria et al., ICLR 2020, https://arxiv.org/abs/2004.05665), as SPLADE takes it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses._sparsity import Sparsity
from encloze.losses.base import Scored


@dataclass(frozen=True)
class Flops(Sparsity, name="flops"):
    """The sum over the vocabulary of (the mean weight over the texts)²: it makes postings short and even.

    The mean goes over all distinct texts of the step, over all processes and parts, so their number changes nothing.
    """

    weight: float = 1e-3
    """What it counts in the sum that is lowered, once it has set in."""

    def sum(self, scored: Scored) -> Tensor:
        return (self.weights(scored).abs().mean(dim=0) ** 2).sum() * len(scored.scores)
