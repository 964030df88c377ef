"""One vector for a text out of the vectors of its tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["cls", "mean", "max"]


def pool(hidden: Tensor, attention: Tensor, pooling: Pooling) -> Tensor:
    """The text's vector: batch x width, of hidden (batch x length x width) and attention (batch x length, bool).

    ``cls`` takes the first token's, ``mean`` and ``max`` go over all tokens but padding, the special ones included.
    """
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention.unsqueeze(-1)
    if pooling == "max":
        return hidden.masked_fill(~mask, float("-inf")).amax(dim=1)
    kept = hidden * mask  # float32 sums, also where the hidden states are bfloat16
    return (kept.sum(dim=1, dtype=torch.promote_types(hidden.dtype, torch.float32)) / mask.sum(dim=1).clamp(min=1)).to(
        hidden.dtype
    )
