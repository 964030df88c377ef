"""What heads over the vocabulary share: the places that speak, and how many of a text's tokens are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from encloze.models.heads.base import Head, Read, Side, Texts
from encloze.models.layers.term_weights import largest


@dataclass(frozen=True)
class OverVocabulary(Head):
    """A weight for each token of the vocabulary, from the logits of the head for masked language modelling."""

    view: ClassVar[Literal["dense", "sparse"]] = "sparse"
    needs_vocabulary: ClassVar[bool] = True

    special_places: bool = True
    """Whether the places of the special tokens and of a prompt speak, too."""
    query_top_k: int | None = None
    """So many of a query's largest weights are kept; by default all above 0."""
    document_top_k: int | None = None
    """So many of a document's largest weights are kept; by default all above 0."""
    top_k_in_training: bool = False
    """Whether only these count in training, too, and not only in indexing and search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("query_top_k", "document_top_k"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count}")

    def places(self, read: Read) -> Tensor:
        """Which places speak: bool, batch x length."""
        return read.texts.attention if self.special_places else read.texts.speaking

    def kept(self, view: Tensor, side: Side, *, training: bool) -> Tensor:
        if training and not self.top_k_in_training:
            return view
        return largest(view, self.query_top_k if side == "query" else self.document_top_k)


def held(texts: Texts, vocabulary: int) -> Tensor:
    """1 for each token that a text holds of its own, and 0 for all others: float32, batch x vocabulary."""
    spread = torch.zeros(len(texts.ids), vocabulary + 1, device=texts.ids.device)
    # A last column takes what does not count, and is cut off.
    spread.scatter_(1, torch.where(texts.own, texts.ids, vocabulary), 1.0)
    return spread[:, :vocabulary]
