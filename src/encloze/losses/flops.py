"""FLOPS regularizer (Paria et al., ICLR 2020, https://arxiv.org/abs/2004.05665), as used by SPLADE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses._sparsity import SparsityRegularizer
from encloze.losses.base import ScoredBatch


@dataclass(frozen=True)
class Flops(SparsityRegularizer, name="flops"):
    """FLOPS regularizer: the sum over all terms of (mean absolute weight of the term in the texts) squared.

    The loss makes postings lists short and similar in length. The mean is taken over all distinct texts of a training
    step, in all processes and micro-batches, so the loss does not depend on how the step is split into micro-batches.

    Example:
        >>> Flops(side="queries", target_active_dims=30).term
        'flops_queries'
    """

    weight: float = 1e-3
    """Regularization weight at the end of its ramp (see ramp_ratio)."""

    def compute(self, batch: ScoredBatch) -> Tensor:
        return (self.term_weights(batch).abs().mean(dim=0) ** 2).sum() * len(batch.scores)
