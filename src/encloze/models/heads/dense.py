"""One embedding for a text: its hidden states pooled, and normalised if the model is so trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from encloze.models.heads.base import Head
from encloze.models.layers.pooling import Pooling, pool


@dataclass(frozen=True)
class Dense(Head, name="dense"):
    """A vector as wide as the backbone's hidden states."""

    pooling: Pooling = "cls"
    """cls (the first token), mean or max; must be the one the model was trained with."""
    normalise: bool = False
    """Whether embeddings get length 1, so that inner products are cosines."""

    def represent(self, hidden: Tensor, attention: Tensor) -> Tensor:
        pooled = pool(hidden, attention, self.pooling).float()
        return F.normalize(pooled, dim=-1) if self.normalise else pooled
