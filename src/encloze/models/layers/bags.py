"""Bags of tokens: which tokens a text holds, to be guessed from one vector over the vocabulary.

Shapes: batch, length, vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from encloze.models.layers.masking import TokenBatch


def distinct_tokens(batch: TokenBatch, vocabulary: int) -> Tensor:
    """Which tokens each text holds, special ones left out: bool, batch x vocabulary."""
    held = torch.zeros(len(batch.ids), vocabulary + 1, dtype=torch.bool, device=batch.ids.device)
    # A last column takes what does not count, and is cut off.
    held.scatter_(1, torch.where(batch.words >= 0, batch.ids, vocabulary), True)
    return held[:, :vocabulary]


def bag_loss(logits: Tensor, held: Tensor, share: Tensor) -> Tensor:
    """The sum over texts of share x -log softmax(logits)[token], over the tokens each holds.

    logits and held are batch x vocabulary; share (batch) weighs each token of a text.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    surprise = logits.logsumexp(dim=1, keepdim=True) - logits
    return ((surprise * held).sum(dim=1) * share).sum()
