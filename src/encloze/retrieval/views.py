"""A view of a collection: one index with the encoder of its queries, and the candidates that views find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from encloze.encoders.base import Encoder
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import OpenIndex


@dataclass(frozen=True)
class View:
    """One way to look at the documents: an index, and the encoder that asks it (none for one that reads text)."""

    name: str
    index: OpenIndex
    encoder: Encoder | None = None

    @property
    def weight(self) -> float:
        """What it counts in its encoder's own similarity."""
        return float(getattr(self.encoder.similarity, self.index.reads)) if self.encoder else 1.0


class CandidatePool(NamedTuple):
    """What the views say of one query's candidates. Shapes: views, candidates."""

    numbers: np.ndarray  # int64, candidates: document numbers
    scores: np.ndarray  # float32, views x candidates
    ranks: np.ndarray  # float64, views x candidates: from 1, infinite where a view did not list a candidate


def default_fusion(views: Sequence[View]) -> Fusion:
    """The weighted sum of one model's views, as it was trained to score; reciprocal rank for anything else."""
    encoders = {id(view.encoder) for view in views}
    if len(encoders) == 1 and all(view.encoder for view in views):
        return Weighted(tuple(view.weight for view in views), scale="none")
    return ReciprocalRank()
