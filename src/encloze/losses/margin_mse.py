"""Margin-MSE (Hofstätter et al., 2020, https://arxiv.org/abs/2010.02666): score differences like the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encloze.losses.base import CandidateLoss, Candidates


@dataclass(frozen=True)
class MarginMse(CandidateLoss, name="margin_mse"):
    """The squared distance between the student's and the teacher's differences of two candidates' scores."""

    pairs: Literal["positive", "all"] = "positive"
    """Which differences: of the relevant document to each negative, or of any two candidates (SPLADE's trainer)."""

    @property
    def needs_teacher(self) -> bool:
        return True

    def doubts(self, cosines: float) -> str:
        if not 0 < cosines <= 1:
            return ""
        return (
            "margin_mse wants differences as wide as the teacher's, and those of cosines are 2 at most: take "
            "--heads '[{type: dense, normalise: false}]', or give the head a weight that widens them"
        )

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        known = candidates.taught
        apart = torch.where(known, candidates.scores - candidates.teacher, 0.0)
        squares = (apart[:, :, None] - apart[:, None, :]) ** 2  # of the differences of differences
        both = (known[:, :, None] & known[:, None, :]).triu(diagonal=1)
        if self.pairs == "positive":
            both[:, 1:] = False
        return ((squares * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2)).clamp(min=1)).sum()
