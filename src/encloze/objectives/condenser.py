"""Condenser (Gao and Callan, EMNLP 2021, https://arxiv.org/abs/2104.08253): pre-training of the CLS vector.

The encoder reads a masked text. A head of two layers receives the CLS vector of the last layer and the other tokens'
hidden states of a middle layer, and predicts the masked tokens of the text. Information from the encoder's layers after
the middle layer reaches the head only through the CLS vector. The pooling is always cls, regardless of the model's
pooling.

The released code (luyug/Condenser) takes the token vectors from layer 6 of 12 in its README and from layer 2 by
default; the default here is the middle layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.condenser_head import CondenserHead
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, PretrainingModule, token_counts
from encloze.objectives.base import Objective
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Condenser(Objective, name="condenser"):
    """Predict masked tokens from the last layer's CLS vector and a middle layer's token vectors.

    Example:
        >>> Condenser(early_layer=6).head_layers
        2
    """

    encoder_mask_rate: float = 0.15
    """Fraction of tokens masked."""
    early_layer: int | None = None
    """Encoder layer whose token vectors the Condenser head receives; by default the middle layer."""
    head_layers: int = 2
    """Number of layers of the Condenser head."""
    late_mlm: bool = True
    """Whether the last layer of the encoder also predicts the masked tokens."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate")
        self.check_positive("early_layer", "head_layers")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CondenserModule:
        return CondenserModule(self, backbone, tokenizer, "cls")


@dataclass(frozen=True)
class CondenserBatch(MaskedBatch):
    """Texts with masked tokens, which the encoder and the Condenser head predict."""

    def counts(self) -> dict[str, Tensor]:
        return token_counts(encoder=self.encoder.labels, decoder=self.encoder.labels)


class CondenserModule(PretrainingModule):
    """Encoder, its head for masked language modeling, and the Condenser head."""

    def __init__(self, settings: Condenser, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": float(settings.late_mlm), "decoder": 1.0}
        self.condenser = CondenserHead(backbone, settings.head_layers, settings.early_layer)

    def sample(self, batch: TokenBatch) -> CondenserBatch:
        return CondenserBatch(batch, self.mask_tokens(batch, self.settings.encoder_mask_rate))

    def encode(self, sampled: CondenserBatch) -> EncoderOutput:
        masked, early_layer = sampled.encoder, self.condenser.early_layer
        last, early = self.backbone.encode_with_layer(masked.ids, sampled.texts.attention_mask, early_layer)
        return EncoderOutput(self.mlm_loss("encoder", last, masked.labels), (last[:, 0],), early)

    def decode(self, sampled: CondenserBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        (embedding,) = encoder_output.bottlenecks
        hidden = self.condenser(embedding, encoder_output.hidden, sampled.texts.attention_mask)
        return self.mlm_loss("decoder", hidden, sampled.encoder.labels)
