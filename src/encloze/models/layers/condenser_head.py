"""Head of Condenser: layers that read the CLS vector of the last encoder layer, and tokens of an earlier layer."""

from __future__ import annotations

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.attention_masks import padding_mask
from encloze.models.layers.decoders import DecoderLayer, replace_first_token


class CondenserHead(nn.Module):
    """Transformer layers whose input is a CLS vector and token vectors from two different layers of the encoder.

    The CLS vector is that of the last encoder layer; the vectors of all other tokens are those of an earlier layer.
    """

    def __init__(self, backbone: Backbone, num_layers: int, early_layer: int | None) -> None:
        """Create the layers of the head.

        The vectors of all tokens except CLS come from the encoder layer ``early_layer``; None selects the middle layer.

        Raises:
            RecipeError: ``early_layer`` is not the number of a layer before the encoder's last layer.
        """
        super().__init__()
        depth = int(backbone.config.num_hidden_layers)
        self.early_layer = early_layer or depth // 2
        if not 1 <= self.early_layer < depth:
            message = f"must be from 1 to {depth - 1}, because the encoder has {depth} layers, not {self.early_layer}"
            raise RecipeError("the objective", [("objective.early_layer", message)])
        self.layers = nn.ModuleList(DecoderLayer(backbone.layer_config) for _ in range(num_layers))

    def forward(self, embedding: Tensor, early: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states after the head's last layer: batch x length x hidden size.

        Args:
            embedding: CLS vectors of the last layer, batch x hidden size.
            early: Hidden states of the early layer, batch x length x hidden size.
            attention_mask: bool, batch x length; False at padding.
        """
        hidden, mask = replace_first_token(early, embedding), padding_mask(attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, hidden, mask)
        return hidden
