"""Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.search.fusions.base import Fusion
from encloze.settings import NonNegativeFloat


@dataclass(frozen=True)
class ReciprocalRank(Fusion, name="reciprocal_rank"):
    """Sum of ``1 / (k + rank)`` over the indexes that return a candidate; scores are ignored."""

    k: NonNegativeFloat = 60.0
    """Smoothing constant: larger values reduce the influence of the top ranks. The paper uses 60."""

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return the fused scores of the candidates of one query (see ``Fusion.fuse``)."""
        return np.asarray((1 / (self.k + ranks)).sum(axis=0))
