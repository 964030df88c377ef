"""Attention masks of decoders (bool, batch x length x length): [b, i, j] is True if position i attends to j."""

from __future__ import annotations

import torch
from torch import Tensor


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Return the attention mask with which each position attends to all positions except padding.

    Args:
        attention_mask: bool, batch x length; False at padding.
    """
    return attention_mask[:, None, :].expand(-1, attention_mask.shape[1], -1)


def causal_mask(attention_mask: Tensor, window: int | None = None) -> Tensor:
    """Return the attention mask with which each position attends to itself and to earlier positions.

    Args:
        attention_mask: bool, batch x length; False at padding.
        window: Number of positions that a position attends to: itself and those just before it. In addition, each
            position attends to position 0, the sentence embedding. By default it attends to all earlier positions.
    """
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    distance = positions[:, None] - positions
    visible = distance >= 0
    if window is not None:
        visible = visible & ((distance < window) | (positions == 0))
    return visible & attention_mask[:, None, :]
