"""Weight initialization of new layers."""

from __future__ import annotations

from torch import nn


def init_bert_weights(module: nn.Module, initializer_range: float) -> None:
    """Initialize linear layers as BERT does: weights from N(0, initializer_range), biases 0.

    Args:
        module: Module whose linear layers are initialized in place; other layers do not change.
        initializer_range: Standard deviation of the weights.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=initializer_range)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
