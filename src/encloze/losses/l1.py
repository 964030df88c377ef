"""L1 regularizer of term weights; efficient SPLADE uses it for queries (https://arxiv.org/abs/2207.03834)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.losses._sparsity import SparsityRegularizer
from encloze.losses.base import ScoredBatch


@dataclass(frozen=True)
class L1(SparsityRegularizer, name="l1"):
    """L1 regularizer: sum of a text's absolute term weights, averaged over texts.

    Example:
        >>> L1().term
        'l1_documents'
    """

    weight: float = 1e-3
    """Regularization weight at the end of its ramp (see ramp_ratio)."""

    def compute(self, batch: ScoredBatch) -> Tensor:
        return self.term_weights(batch).abs().sum(dim=1).mean() * len(batch.scores)
