"""Pooling of token vectors to one vector per text."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["cls", "mean", "max"]


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector per text: batch x hidden size.

    Args:
        hidden: Hidden states, batch x length x hidden size.
        attention_mask: bool, batch x length; False at padding.
        pooling: ``cls`` takes the first token; ``mean`` and ``max`` cover all tokens except padding, special tokens
            included.

    Example:
        >>> pool(torch.ones(2, 5, 8), torch.ones(2, 5, dtype=torch.bool), "mean").shape
        torch.Size([2, 8])
    """
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1)
    if pooling == "max":
        return hidden.masked_fill(~mask, float("-inf")).amax(dim=1)
    masked = hidden * mask
    sums = masked.sum(dim=1, dtype=torch.promote_types(hidden.dtype, torch.float32))  # also if hidden is bfloat16
    return (sums / mask.sum(dim=1).clamp(min=1)).to(hidden.dtype)
