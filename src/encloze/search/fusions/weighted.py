"""Weighted sum of the scores of several indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from encloze.search.fusions.base import Fusion


@dataclass(frozen=True)
class Weighted(Fusion, name="weighted"):
    """Weighted sum of scores: every index scores all candidates, including those that only other indexes returned."""

    weights: tuple[float, ...] = ()
    """Weight of each index, in the order of the indexes; by default all weights are 1."""
    normalization: Literal["min_max", "none"] = "min_max"
    """min_max scales the scores of each index to the range from 0 to 1 over the candidates of a query; none uses the
    scores as they are."""

    def check(self, num_indexes: int) -> None:
        """Raise ValueError if the number of weights differs from the number of indexes."""
        if self.weights and len(self.weights) != num_indexes:
            raise ValueError(f"the weighted fusion has {len(self.weights)} weights for {num_indexes} indexes")

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Return the fused scores of the candidates of one query (see ``Fusion.fuse``)."""
        weights = np.array(self.weights or [1.0] * len(scores))
        if self.normalization == "min_max" and scores.shape[1]:
            low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
            scores = (scores - low) / np.maximum(high - low, 1e-9)
        return np.asarray(weights @ scores)
