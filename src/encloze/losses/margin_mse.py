"""Margin-MSE distillation (Hofstätter et al., 2020, https://arxiv.org/abs/2010.02666)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores


@dataclass(frozen=True)
class MarginMse(CandidateLoss, name="margin_mse"):
    """Mean squared error between the score margins of the student and of the teacher.

    A score margin is the difference between the scores of two candidates of a query.

    Example:
        >>> MarginMse(pairs="all").needs_teacher
        True
    """

    pairs: Literal["positive", "all"] = "positive"
    """Pairs of candidates: ``positive`` pairs the relevant document with each negative; ``all`` uses every pair of
    candidates, as SPLADE's trainer does."""

    @property
    def needs_teacher(self) -> bool:
        return True

    def configuration_warnings(self, cosine_scale: float) -> str:
        if not 0 < cosine_scale <= 1:
            return ""
        return (
            "margin_mse fits the teacher's score margins, but margins of cosines are at most 2: set "
            "--heads '[{type: dense, normalize: false}]', or increase the weight of the dense head"
        )

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        mask = candidates.has_teacher_score
        errors = torch.where(mask, candidates.scores - candidates.teacher_scores, 0.0)
        squared_margin_errors = (errors[:, :, None] - errors[:, None, :]) ** 2
        pairs = (mask[:, :, None] & mask[:, None, :]).triu(diagonal=1)
        if self.pairs == "positive":
            pairs[:, 1:] = False
        sums = (squared_margin_errors * pairs).sum(dim=(1, 2))
        return (sums / pairs.sum(dim=(1, 2)).clamp(min=1)).sum()
