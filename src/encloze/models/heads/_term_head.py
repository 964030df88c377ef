"""Base of sparse heads, which compute term weights from the logits of the head for masked language modeling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from encloze.models.heads.base import Head, HeadInput, Side, TextBatch
from encloze.models.layers.term_weights import keep_top_k


@dataclass(frozen=True)
class TermHead(Head):
    """A weight for each token of the vocabulary, computed from the logits of the head for masked language modeling."""

    view: ClassVar[Literal["dense", "sparse"]] = "sparse"
    needs_mlm_head: ClassVar[bool] = True

    pool_special_tokens: bool = True
    """Whether pooling includes the positions of special tokens and of the prompt."""
    query_top_k: int | None = None
    """Number of weights kept for each query, the largest ones. By default, all weights above 0 are kept."""
    document_top_k: int | None = None
    """Number of weights kept for each document, the largest ones. By default, all weights above 0 are kept."""
    top_k_in_training: bool = False
    """Whether ``query_top_k`` and ``document_top_k`` also apply in training, not only in indexing and search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("query_top_k", "document_top_k"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count}")

    def position_mask(self, inputs: HeadInput) -> Tensor:
        """Return a mask of the token positions that are pooled (bool, batch x length)."""
        return inputs.texts.attention_mask if self.pool_special_tokens else inputs.texts.content_mask

    def prune(self, view: Tensor, side: Side, *, training: bool) -> Tensor:
        if training and not self.top_k_in_training:
            return view
        return keep_top_k(view, self.query_top_k if side == "query" else self.document_top_k)


def multi_hot(texts: TextBatch, vocabulary: int) -> Tensor:
    """Return a vector for each text: 1 for each token that the text (without its prompt) contains, 0 for all others.

    The result is float32, batch x vocabulary.
    """
    vector = torch.zeros(len(texts.ids), vocabulary + 1, device=texts.ids.device)
    # All tokens that do not count are written to an extra last column.
    vector.scatter_(1, torch.where(texts.own_tokens, texts.ids, vocabulary), 1.0)
    return vector[:, :vocabulary]
