"""Head of Condenser: layers over the CLS vector of the last encoder layer and token vectors of an earlier layer."""

from __future__ import annotations

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.attention_masks import padding_mask
from encloze.models.layers.decoders import DecoderLayer, replace_first_token


class CondenserHead(nn.Module):
    """Transformer layers over the last encoder layer's CLS vector and an earlier encoder layer's other vectors."""

    def __init__(self, backbone: Backbone, num_layers: int, early_layer: int | None) -> None:
        """Create the layers of the head.

        ``early_layer`` is the encoder layer whose vectors are used for all tokens but CLS; None selects the middle one.

        Raises:
            RecipeError: The encoder has no such layer before its last one.
        """
        super().__init__()
        depth = int(backbone.config.num_hidden_layers)
        self.early_layer = early_layer or depth // 2
        if not 1 <= self.early_layer < depth:
            message = f"must be from 1 to {depth - 1}, because the encoder has {depth} layers, not {self.early_layer}"
            raise RecipeError("the objective", [("objective.early_layer", message)])
        self.layers = nn.ModuleList(DecoderLayer(backbone.layer_config) for _ in range(num_layers))

    def forward(self, embedding: Tensor, early: Tensor, attention_mask: Tensor) -> Tensor:
        """Return hidden states: batch x length x hidden size.

        Args:
            embedding: CLS vectors of the last layer, batch x hidden size.
            early: Hidden states of the early layer, batch x length x hidden size.
            attention_mask: bool, batch x length; False at padding.
        """
        hidden, mask = replace_first_token(early, embedding), padding_mask(attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, hidden, mask)
        return hidden
