"""Matryoshka (Kusupati et al., NeurIPS 2022, https://arxiv.org/abs/2205.13147): beginnings of embeddings serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import Loss, Scored


@dataclass(frozen=True)
class Matryoshka(Loss, name="matryoshka"):
    """Another loss, over embeddings cut to each of some widths; the mean over these."""

    loss: Loss = field(default_factory=lambda: Loss.named("contrastive"))
    """The loss that the beginnings of embeddings are to lower, too."""
    widths: tuple[int, ...] = (64, 128, 256)
    """So many numbers of an embedding; the whole one is the business of another loss beside this one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths must name one width or more, each 1 or more, not {self.widths}")

    @property
    def term(self) -> str:
        return f"{self.name}_{self.loss.term}"

    @property
    def needs_teacher(self) -> bool:
        return self.loss.needs_teacher

    @property
    def needs_negatives(self) -> bool:
        return self.loss.needs_negatives

    def check(self, views: Mapping[str, int | None]) -> None:
        if "dense" not in views:
            raise ValueError(f"{self.name} cuts embeddings, and the model makes none: add dense to heads")
        width = views["dense"]
        if width is not None and max(self.widths) >= width:
            raise ValueError(f"widths must be below {width}, the width of embeddings, not {max(self.widths)}")
        self.loss.check(views)

    def sum(self, scored: Scored) -> Tensor:
        return torch.stack([self.loss.sum(_cut(scored, width)) for width in self.widths]).mean()


def _cut(scored: Scored, width: int) -> Scored:
    """The same texts with the first ``width`` numbers of their embeddings; cosines stay cosines."""

    def cut(embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings[:, :width], dim=1) if scored.is_normalised else embeddings[:, :width]

    queries, documents = (view._replace(dense=cut(view.dense)) for view in (scored.queries, scored.documents))
    return scored._replace(queries=queries, documents=documents, scores=scored.similarity.score(queries, documents))
