"""InfoNCE (van den Oord et al., 2018): the relevant document should win over all others of the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import Loss, Scored


@dataclass(frozen=True)
class Contrastive(Loss, name="contrastive"):
    """The cross-entropy of the target among the documents of the whole step."""

    temperature: float | None = None
    """Scores are divided by it; by default 0.05 where they are cosines (times the head's weight), and 1 elsewhere."""

    view: Literal["dense", "sparse"] | None = None
    """Score by this view alone; by default by the weighted sum of all. A view that is always outdone by the other one
    learns little from the sum: name the loss once more, for that view."""

    @property
    def term(self) -> str:
        return f"{self.name}_{self.view}" if self.view else self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def check(self, views: Mapping[str, int | None]) -> None:
        if self.view and self.view not in views:
            raise ValueError(
                f"{self.name} is over the {self.view} view, and the model makes {' and '.join(views)} alone"
            )

    def sum(self, scored: Scored) -> Tensor:
        scored = scored.of_view(self.view) if self.view else scored
        temperature = self.temperature or (0.05 * scored.similarity.dense if scored.is_cosine else 1.0)
        logits = scored.scores.masked_fill(scored.left_out, float("-inf")) / temperature
        return F.cross_entropy(logits, scored.target, reduction="sum")
