"""Matryoshka loss (Kusupati et al., NeurIPS 2022, https://arxiv.org/abs/2205.13147) for truncated embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.losses.base import Loss, ScoredBatch


@dataclass(frozen=True)
class Matryoshka(Loss, name="matryoshka"):
    """Compute another loss once for each length in ``dims``, from embeddings truncated to it; return the mean.

    The mean does not include the loss of the full embeddings. To train them too, also list the other loss in
    ``losses``.

    Example:
        >>> Matryoshka(dims=(64, 128)).term
        'matryoshka_contrastive'
    """

    loss: Loss = field(default_factory=lambda: Loss.from_name("contrastive"))
    """Loss that is computed from truncated embeddings."""
    dims: tuple[int, ...] = (64, 128, 256)
    """Numbers of dimensions to which embeddings are truncated; each must be below the full number of dimensions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dims or min(self.dims) < 1:
            raise ValueError(f"dims must be one or more positive integers, not {self.dims}")

    @property
    def term(self) -> str:
        return f"{self.name}_{self.loss.term}"

    @property
    def needs_teacher(self) -> bool:
        return self.loss.needs_teacher

    @property
    def needs_negatives(self) -> bool:
        return self.loss.needs_negatives

    def check_views(self, views: Mapping[str, int | None]) -> None:
        if "dense" not in views:
            raise ValueError(f"{self.name} requires a dense head: add dense to heads, or remove {self.name}")
        dim = views["dense"]
        if dim is not None and max(self.dims) >= dim:
            raise ValueError(f"dims must be below {dim}, the embedding dimension, not {max(self.dims)}")
        self.loss.check_views(views)

    def compute(self, batch: ScoredBatch) -> Tensor:
        return torch.stack([self.loss.compute(_truncate(batch, dim)) for dim in self.dims]).mean()


def _truncate(batch: ScoredBatch, dim: int) -> ScoredBatch:
    """Return the batch with embeddings truncated to ``dim`` dimensions; normalized embeddings are normalized again."""

    def truncate(embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings[:, :dim], dim=1) if batch.is_normalized else embeddings[:, :dim]

    queries, documents = (view._replace(dense=truncate(view.dense)) for view in (batch.queries, batch.documents))
    return batch._replace(queries=queries, documents=documents, scores=batch.similarity.score(queries, documents))
