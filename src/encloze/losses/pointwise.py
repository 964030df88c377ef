"""Pointwise binary cross-entropy of each candidate's relevance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores


@dataclass(frozen=True)
class Pointwise(CandidateLoss, name="pointwise"):
    """Mean of the binary cross-entropy of the relevant document and of the mean over its negatives.

    Relevant document and negatives have equal weight, whatever the number of negatives.

    Example:
        >>> Pointwise().needs_negatives
        True
    """

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        mask = candidates.candidate_mask[:, 1:]
        positive = F.softplus(-candidates.scores[:, 0])
        negative = (F.softplus(candidates.scores[:, 1:]) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return (torch.stack([positive, negative]).mean(dim=0)).sum()
