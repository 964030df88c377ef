"""Contrastive loss with in-batch negatives (InfoNCE, van den Oord et al., 2018, https://arxiv.org/abs/1807.03748)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import Loss, ScoredBatch


@dataclass(frozen=True)
class Contrastive(Loss, name="contrastive"):
    """Cross-entropy of the query's relevant document among all documents of the training step.

    Other documents that are known to be relevant to the query (``false_negative_mask``) are excluded from the softmax.

    Example:
        >>> Contrastive(view="sparse").term
        'contrastive_sparse'
    """

    temperature: float | None = None
    """Number by which scores are divided. The default is 0.05 times the weight of the dense head if scores are cosines,
    and 1 otherwise."""

    view: Literal["dense", "sparse"] | None = None
    """Whether scores are computed from the ``dense`` or the ``sparse`` representations. By default, scores are the
    weighted sum of both. If one of them dominates the sum, the other one receives little gradient. In that case list
    this loss a second time, with ``view`` set to the representation that receives little gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    @property
    def term(self) -> str:
        return f"{self.name}_{self.view}" if self.view else self.name

    def check_views(self, views: Mapping[str, int | None]) -> None:
        if self.view and self.view not in views:
            raise ValueError(
                f"{self.name} with view: {self.view} requires a {self.view} head, but the model has only "
                f"{' and '.join(views)}: add {self.view} to heads, or change view"
            )

    def compute(self, batch: ScoredBatch) -> Tensor:
        batch = batch.for_view(self.view) if self.view else batch
        temperature = self.temperature or (0.05 * batch.similarity.dense if batch.is_cosine else 1.0)
        logits = batch.scores.masked_fill(batch.false_negative_mask, float("-inf")) / temperature
        return F.cross_entropy(logits, batch.target, reduction="sum")
