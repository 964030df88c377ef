"""Queries that are learnt as they might be typed: which, and how, is drawn from (seed, epoch, example)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encloze.data.records import Query
from encloze.evaluation.draw import Draw
from encloze.evaluation.perturbations.base import Perturbation


@dataclass(frozen=True)
class Perturbing:
    """In each epoch a share of the queries is perturbed, each by one perturbation."""

    perturbations: Sequence[Perturbation]
    share: float
    seed: int

    def __call__(self, text: str, number: int, epoch: int) -> str:
        """The query of an example as it is learnt in an epoch."""
        draw = Draw(self.seed, "perturbing", epoch, number)
        if draw.share() >= self.share:
            return text
        return draw.one(self.perturbations).perturbed(Query(f"{epoch} {number}", text), self.seed)
