"""The pairwise logistic loss (RankNet, Burges et al., ICML 2005) of the relevant document and each negative."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import CandidateLoss, Candidates


@dataclass(frozen=True)
class Pairwise(CandidateLoss, name="pairwise"):
    """log(1 + exp(negative's score - relevant one's)), averaged over a query's negatives."""

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        against = candidates.there[:, 1:]
        losses = F.softplus(candidates.scores[:, 1:] - candidates.scores[:, :1]) * against
        return (losses.sum(dim=1) / against.sum(dim=1).clamp(min=1)).sum()
