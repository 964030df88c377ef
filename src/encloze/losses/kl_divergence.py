"""Distillation of a teacher's distribution over a query's candidates (Kullback-Leibler divergence)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from encloze.losses.base import CandidateLoss, Candidates

_FLAT = 2.0  # cosines times so much differ by 4 at most


@dataclass(frozen=True)
class KlDivergence(CandidateLoss, name="kl_divergence"):
    """KL(softmax(teacher's scores) || softmax(student's)) over the candidates that the teacher scored."""

    teacher_temperature: float = 1.0
    """The teacher's scores are divided by it."""
    temperature: float = 1.0
    """The student's scores are divided by it; cosines want about 0.05."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("teacher_temperature", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")

    @property
    def needs_teacher(self) -> bool:
        return True

    def doubts(self, cosines: float) -> str:
        if not cosines or cosines / self.temperature > _FLAT:
            return ""
        return (
            f"kl_divergence compares cosines divided by {self.temperature / cosines:g}, nearly alike whatever "
            f"is learnt: give it a temperature of about {0.05 * cosines:g}"
        )

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        known = candidates.taught
        rows = known.any(dim=1)
        found, known, teacher = candidates.scores[rows], known[rows], candidates.teacher[rows]
        unknown = ~known
        wanted = (teacher / self.teacher_temperature).masked_fill(unknown, float("-inf")).log_softmax(dim=1)
        mine = (found / self.temperature).masked_fill(unknown, float("-inf")).log_softmax(dim=1)
        return torch.where(known, wanted.exp() * (wanted - mine), 0.0).sum()
