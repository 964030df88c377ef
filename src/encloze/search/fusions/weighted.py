"""Weighted sum of the scores of several indexes, normalized for each index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from encloze.search.fusions.base import Fusion

_TINY = 1e-9
_TEMPERATURE = 3.0  # of the softmax; best over 19 collections (docs/explanation/log.md)


@dataclass(frozen=True)
class Weighted(Fusion, name="weighted"):
    """Weighted sum of the scores of all indexes. An index also scores candidates that only other indexes retrieved."""

    weights: tuple[float, ...] = ()
    """Weight of each index, in the order of the indexes; by default all weights are 1."""
    normalization: Literal["softmax", "z_score", "min_max", "none"] = "softmax"
    """How the scores of each index are normalized over the candidates of a query. z_score: the scores get
    the mean 0 and the standard deviation 1. softmax: a softmax with temperature 3 of the z-scores, so that an index
    whose scores hardly separate the candidates has little influence. min_max: the scores get the range from 0 to 1.
    none: the scores are not changed."""

    def __post_init__(self) -> None:
        if self.weights and (min(self.weights) < 0 or max(self.weights) == 0):
            raise ValueError(f"weights must be 0 or more, and at least one above 0, not {list(self.weights)}")

    def check(self, num_indexes: int) -> None:
        """Raise ValueError if weights are set, and their number is not the number of indexes."""
        if self.weights and len(self.weights) != num_indexes:
            raise ValueError(
                f"the weighted fusion has {len(self.weights)} weights for {num_indexes} indexes. Set one per index"
            )

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return the fused scores of the candidates of one query (see ``Fusion.fuse``)."""
        weights = np.array(self.weights or [1.0] * len(scores))
        return np.asarray(weights @ (self._normalized(scores) if scores.shape[1] else scores))

    def _normalized(self, scores: np.ndarray) -> np.ndarray:
        if self.normalization == "none":
            return scores
        if self.normalization == "min_max":
            low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
            return np.asarray((scores - low) / np.maximum(high - low, _TINY))
        deviations = scores - scores.mean(axis=1, keepdims=True)
        z_scores = deviations / np.maximum(scores.std(axis=1, keepdims=True), _TINY)
        if self.normalization == "z_score":
            return np.asarray(z_scores)
        exponentials = np.exp((z_scores - z_scores.max(axis=1, keepdims=True)) / _TEMPERATURE)
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
