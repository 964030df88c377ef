"""Attention masks of decoders (bool, batch x length x length): True where a position attends to another one."""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Return the mask in which each position attends to all tokens except padding.

    Args:
        attention_mask: bool, batch x length; False at padding.
    """
    return attention_mask[:, None, :].expand(-1, attention_mask.shape[1], -1)


def causal_mask(attention_mask: Tensor, window: int | None = None) -> Tensor:
    """Return the mask in which each position attends to itself and to earlier tokens.

    Args:
        attention_mask: bool, batch x length; False at padding.
        window: Number of last tokens that a position attends to, itself included; by default all. Position 0, which
            holds the sentence embedding, is always visible.
    """
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    distance = positions[:, None] - positions
    visible = distance >= 0
    if window is not None:
        visible = visible & ((distance < window) | (positions == 0))
    return visible & attention_mask[:, None, :]
