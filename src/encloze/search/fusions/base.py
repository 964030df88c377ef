"""A fusion: one score for each candidate out of what several indexes say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.family import Family


@dataclass(frozen=True)
class Fusion(Family):
    """How the rankings of several indexes become one."""

    def check(self, indexes: int) -> None:
        """Raise ValueError where this cannot join so many indexes."""

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """The fused scores of one query's candidates, higher is better: float64, candidates.

        ``scores`` (indexes x candidates) holds every index's score of every candidate, ``ranks`` (the same shape,
        from 1) the place each index gave it, infinite where it did not list it.
        """
        raise NotImplementedError(type(self).__name__)
