"""Pointwise loss: binary cross-entropy of the relevance of each candidate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores


@dataclass(frozen=True)
class Pointwise(CandidateLoss, name="pointwise"):
    """Binary cross-entropy of the classification of each candidate of a query as relevant or not.

    The relevant document and the negatives have equal weight: the loss of a query is the average of the loss of its
    relevant document and the mean loss of its negatives.

    Example:
        >>> Pointwise().needs_negatives
        True
    """

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        mask = candidates.candidate_mask[:, 1:]
        positive = F.softplus(-candidates.scores[:, 0])
        negative = (F.softplus(candidates.scores[:, 1:]) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return (torch.stack([positive, negative]).mean(dim=0)).sum()
