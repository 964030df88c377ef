"""Condenser (Gao and Callan, EMNLP 2021, https://arxiv.org/abs/2104.08253): late layers speak through one vector.

A text with holes is read once. A head of two layers gets the first token's vector of the last layer and the other
tokens' vectors of a middle one, and fills the same holes: what the late layers found out must be in that one vector.
The pooling is cls, whatever the encoder's was. Read in the released code (luyug/Condenser), whose README takes layer 6
of 12 and whose default is 2; here it is the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.condensing import CondenserHead
from encloze.models.layers.masking import Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.objectives.base import Objective, PretrainingModule, Reading, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Condenser(Objective, name="condenser"):
    """Fill a text's holes from its last first-token vector and the tokens of a middle layer."""

    encoder_mask_rate: float = 0.15
    """Share of the tokens whose words are taken out."""
    early_layer: int | None = None
    """After which layer the other tokens are taken; by default the middle."""
    head_layers: int = 2
    """Layers of the head."""
    late_mlm: bool = True
    """Whether the encoder's own last layer fills the holes, too."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate")
        self.check_positive("early_layer", "head_layers")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CondenserModule:
        return CondenserModule(self, backbone, tokenizer, "cls")


class Drawn(NamedTuple):
    """Texts with holes, which both heads fill."""

    texts: TokenBatch
    encoder: Masked

    def counts(self) -> dict[str, Tensor]:
        return tokens_of(encoder=self.encoder.labels, decoder=self.encoder.labels)


class CondenserModule(PretrainingModule):
    """The encoder, its head for masked language modelling, and Condenser's."""

    def __init__(self, settings: Condenser, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": float(settings.late_mlm), "decoder": 1.0}
        self.condenser = CondenserHead(backbone, settings.head_layers, settings.early_layer)

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(batch, self.masked(batch, self.settings.encoder_mask_rate))

    def read(self, drawn: Drawn) -> Reading:
        masked, early_layer = drawn.encoder, self.condenser.early_layer
        last, early = self.backbone.encode_through(masked.ids, drawn.texts.attention, early_layer)
        return Reading(self.guess("encoder", last, masked.labels), (last[:, 0],), early)

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        rebuilt = self.condenser(reading.views[0], reading.hidden, drawn.texts.attention)
        return self.guess("decoder", rebuilt, drawn.encoder.labels)
