"""Interface of rank fusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.family import Family


@dataclass(frozen=True)
class Fusion(Family):
    """Base class of rank fusions, which combine the scores and ranks of several indexes into one score per candidate.

    Example:
        >>> from encloze.search.fusions.reciprocal_rank import ReciprocalRank
        >>> scores = np.array([[3.0, 1.0], [0.2, 0.9]])  # 2 indexes, 2 candidates
        >>> ranks = np.array([[1.0, 2.0], [np.inf, 1.0]])
        >>> ReciprocalRank(k=60).fuse(scores, ranks).round(4)
        array([0.0164, 0.0325])
    """

    def check(self, num_indexes: int) -> None:
        """Raise ValueError if the fusion cannot combine ``num_indexes`` indexes, for example if weights are missing."""

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return the fused scores of the candidates of one query.

        Args:
            scores: Score of each candidate by each index, float64 ``(indexes, candidates)``.
            ranks: Rank, from 1, of each candidate in each index, float64 ``(indexes, candidates)``; infinite if the
                index did not return the candidate.

        Returns:
            Fused scores, float64 ``(candidates,)``; higher is better.
        """
        raise NotImplementedError(type(self).__name__)
