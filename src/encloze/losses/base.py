"""A loss: the scores of queries and documents in, a sum over queries out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from encloze.family import Family


class Scored(NamedTuple):
    """The one thing a loss sees. Shapes: queries, documents (of the batch, each distinct text once)."""

    scores: Tensor  # float, queries x documents
    target: Tensor  # int64, queries: the column of the document that should win
    left_out: Tensor  # bool, queries x documents: other documents known to be relevant, which are no negatives


@dataclass(frozen=True)
class Loss(Family):
    """What a fine-tuning run lowers."""

    def sum(self, scored: Scored, *, normalised: bool) -> Tensor:
        """The sum over the queries. ``normalised`` tells that the embeddings have length 1."""
        raise NotImplementedError(type(self).__name__)
