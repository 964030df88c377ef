"""Condenser's head: layers over the last layer's first token and an earlier layer's other tokens.

Shapes: batch, length, width.
"""

from __future__ import annotations

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.decoders import DecoderLayer, everything_real, with_first


class CondenserHead(nn.Module):
    """What the late layers know of a text must pass through one vector, because only that one is handed on."""

    def __init__(self, backbone: Backbone, layers: int, early_layer: int | None) -> None:
        super().__init__()
        there = int(backbone.config.num_hidden_layers)
        self.early_layer = early_layer or there // 2
        if not 1 <= self.early_layer < there:
            message = f"the encoder has {there} layers, so an earlier one is from 1 to {there - 1}"
            raise RecipeError("the objective", [("objective.early_layer", message)])
        self.layers = nn.ModuleList(DecoderLayer(backbone.shape) for _ in range(layers))

    def forward(self, embedding: Tensor, early: Tensor, attention: Tensor) -> Tensor:
        """batch x length x width, of embeddings batch x width and the early hidden states batch x length x width."""
        hidden, visible = with_first(embedding, early), everything_real(attention)
        for layer in self.layers:
            hidden = layer(hidden, hidden, visible)
        return hidden
