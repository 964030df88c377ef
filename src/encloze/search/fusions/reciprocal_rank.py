"""Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.search.fusions.base import Fusion


@dataclass(frozen=True)
class ReciprocalRank(Fusion, name="reciprocal_rank"):
    """The sum of 1 / (k + rank) over the indexes that list a document; scores do not count."""

    k: float = 60.0
    """How little the first ranks stand out; 60 is the paper's value, and Milvus's."""

    def fuse(self, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        return np.asarray((1 / (self.k + ranks)).sum(axis=0))
