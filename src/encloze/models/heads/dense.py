"""One embedding for a text: its hidden states pooled, perhaps projected, and normalised if the model is so trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads.base import Head, Read, Side
from encloze.models.layers.pooling import Pooling, pool


@dataclass(frozen=True)
class Dense(Head, name="dense"):
    """A vector as wide as the backbone's hidden states, or narrower."""

    view: ClassVar[Literal["dense", "sparse"]] = "dense"

    pooling: Pooling | None = None
    """cls (the first token), mean or max; must be the one the model was trained with, which is the default."""
    normalise: bool | None = None
    """Whether embeddings get length 1, so that inner products are cosines; by default as the model was trained."""
    width: int | None = None
    """Embeddings are projected to so many numbers, by a matrix that is learnt; by default they are not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be 1 or more, not {self.width}")

    def like(self, other: Any) -> Dense:
        known = other if isinstance(other, Dense) else Dense("cls", False)
        return replace(
            self,
            pooling=self.pooling or known.pooling or "cls",
            normalise=bool(known.normalise) if self.normalise is None else self.normalise,
            width=self.width or known.width,
        )

    def part(self, backbone: Backbone) -> nn.Module | None:
        if self.width is None:
            return None
        projection = nn.Linear(backbone.width, self.width, bias=False)
        nn.init.normal_(projection.weight, std=backbone.width**-0.5)  # lengths stay about what they were
        return projection

    def represent(self, read: Read, side: Side, backbone: Backbone, part: nn.Module | None) -> Tensor:
        assert read.hidden is not None
        pooled = pool(read.hidden, read.texts.attention, self.pooling or "cls")
        made = (pooled if part is None else part(pooled)).to(torch.promote_types(pooled.dtype, torch.float32))
        return F.normalize(made, dim=-1) if self.normalise else made
