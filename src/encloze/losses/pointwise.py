"""Binary cross-entropy: each candidate is relevant or not, by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import CandidateLoss, Candidates


@dataclass(frozen=True)
class Pointwise(CandidateLoss, name="pointwise"):
    """-log sigmoid(score) of the relevant document and -log(1 - sigmoid(score)) of each negative, averaged over both
    kinds apart, so that many negatives do not drown the one that is relevant."""

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        against = candidates.there[:, 1:]
        relevant = F.softplus(-candidates.scores[:, 0])
        others = (F.softplus(candidates.scores[:, 1:]) * against).sum(dim=1) / against.sum(dim=1).clamp(min=1)
        return (torch.stack([relevant, others]).mean(dim=0)).sum()
