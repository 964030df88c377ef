"""The weighted sum of the indexes' scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from encloze.search.fusions.base import Fusion


@dataclass(frozen=True)
class Weighted(Fusion, name="weighted"):
    """Every candidate gets every index's true score, also where that index would not have listed it."""

    weights: tuple[float, ...] = ()
    """One for each index, in order; all 1 where none is given."""
    scale: Literal["min_max", "none"] = "min_max"
    """min_max brings each index's scores of a query's candidates between 0 and 1 before they are summed."""

    def check(self, indexes: int) -> None:
        if self.weights and len(self.weights) != indexes:
            raise ValueError(f"the weighted fusion has {len(self.weights)} weights for {indexes} indexes")

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        weights = np.array(self.weights or [1.0] * len(scores))
        if self.scale == "min_max" and scores.shape[1]:
            low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
            scores = (scores - low) / np.maximum(high - low, 1e-9)
        return np.asarray(weights @ scores)
