"""Knowledge distillation by the Kullback-Leibler divergence of score distributions over a query's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from encloze.losses.base import CandidateLoss, CandidateScores

_NEARLY_UNIFORM = 2.0  # cosines divided by temperature differ by at most twice this


@dataclass(frozen=True)
class KlDivergence(CandidateLoss, name="kl_divergence"):
    """KL(teacher || student) between the softmax distributions of their scores over each query's candidates.

    Candidates without a teacher score are excluded from both distributions.

    Example:
        >>> KlDivergence(temperature=0.05).needs_teacher
        True
    """

    teacher_temperature: float = 1.0
    """Number by which the teacher's scores are divided before the softmax."""
    temperature: float = 1.0
    """Number by which the student's scores are divided before the softmax; set about 0.05 if they are cosines."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("teacher_temperature", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")

    @property
    def needs_teacher(self) -> bool:
        return True

    def configuration_warnings(self, cosine_scale: float) -> str:
        if not cosine_scale or cosine_scale / self.temperature > _NEARLY_UNIFORM:
            return ""
        return (
            f"kl_divergence divides cosines by {self.temperature / cosine_scale:g}, so the student's softmax is nearly "
            f"uniform for every model: set its temperature to about {0.05 * cosine_scale:g}"
        )

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        mask = candidates.has_teacher_score
        rows = mask.any(dim=1)
        mask = mask[rows]
        teacher, student = (
            (scores[rows] / temperature).masked_fill(~mask, float("-inf")).log_softmax(dim=1)
            for scores, temperature in (
                (candidates.teacher_scores, self.teacher_temperature),
                (candidates.scores, self.temperature),
            )
        )
        return torch.where(mask, teacher.exp() * (teacher - student), 0.0).sum()
