"""Pairwise logistic loss (RankNet, Burges et al., ICML 2005) of the relevant document and each negative."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores


@dataclass(frozen=True)
class Pairwise(CandidateLoss, name="pairwise"):
    """log(1 + exp(negative's score - relevant document's score)), averaged over a query's negatives.

    Example:
        >>> Pairwise().needs_negatives
        True
    """

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        negatives = candidates.candidate_mask[:, 1:]
        losses = F.softplus(candidates.scores[:, 1:] - candidates.scores[:, :1]) * negatives
        return (losses.sum(dim=1) / negatives.sum(dim=1).clamp(min=1)).sum()
