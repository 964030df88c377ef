"""Base class of sparse heads, which compute term weights from the logits of the masked language modeling head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from encloze.models.heads.base import Head, HeadInput, Side, TextBatch
from encloze.models.layers.term_weights import keep_top_k


@dataclass(frozen=True)
class TermHead(Head):
    """Base class of sparse heads: one weight per vocabulary token, from the logits of the MLM head."""

    view: ClassVar[Literal["dense", "sparse"]] = "sparse"
    needs_mlm_head: ClassVar[bool] = True

    pool_special_tokens: bool = True
    """Whether pooling over the positions of a text includes special tokens and the prompt."""
    query_top_k: int | None = None
    """Number of largest term weights kept for each query; smaller ones become 0. By default all weights are kept."""
    document_top_k: int | None = None
    """Number of largest term weights kept for each document; smaller ones become 0. By default all weights are kept."""
    top_k_in_training: bool = False
    """Whether ``query_top_k`` and ``document_top_k`` also apply in training, not only in indexing and search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("query_top_k", "document_top_k"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count}")

    def position_mask(self, inputs: HeadInput) -> Tensor:
        """Return a mask of the positions whose logits are pooled to term weights (bool, batch x length)."""
        return inputs.texts.attention_mask if self.pool_special_tokens else inputs.texts.content_mask

    def prune(self, view: Tensor, side: Side, *, training: bool) -> Tensor:
        if training and not self.top_k_in_training:
            return view
        return keep_top_k(view, self.query_top_k if side == "query" else self.document_top_k)


def multi_hot(texts: TextBatch, vocabulary: int) -> Tensor:
    """Return a vector over the vocabulary for each text: 1 for each token of the text, 0 for all other tokens.

    The prompt and special tokens are not part of the text. The result is float32, batch x vocabulary.
    """
    vector = torch.zeros(len(texts.ids), vocabulary + 1, device=texts.ids.device)
    # All tokens that do not count are written to an extra last column.
    vector.scatter_(1, torch.where(texts.own_tokens, texts.ids, vocabulary), 1.0)
    return vector[:, :vocabulary]
