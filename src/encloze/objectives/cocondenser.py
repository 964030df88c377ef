"""coCondenser (Gao and Callan, ACL 2022, https://arxiv.org/abs/2108.05540): Condenser, and spans that find each other.

Two spans of each document are read with holes. Condenser's head fills the holes; besides, each span's vector should be
closer to that of its document's other span than to those of other documents. The batch is the whole step's, over all
processes and accumulated parts (gradient caching), so a large batch fits in a small memory.

Read in the released code (luyug/Condenser): dot products, no temperature. There all other spans of the batch are wrong
answers; here those of the same source are none, since a span may stand in a batch twice. It begins with Condenser's
head and weights: ``encloze pretrain --objective condenser`` first, then this with ``--model`` that folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.condensing import CondenserHead
from encloze.models.layers.masking import Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.trainable import Rows
from encloze.objectives.base import Objective, PretrainingModule, Reading, contrasted, pairs_of, tokens_of
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CoCondenser(Objective, name="cocondenser"):
    """Condenser's filling of holes, and two spans of a document that find each other."""

    context: Context = field(default_factory=lambda: Context.named("random"))
    """Where the other span comes from: random (as published), near, overlapping, mixed, crops, or queries."""
    encoder_mask_rate: float = 0.15
    """Share of the tokens whose words are taken out."""
    early_layer: int | None = None
    """After which layer the other tokens are taken; by default the middle."""
    head_layers: int = 2
    """Layers of the head."""
    late_mlm: bool = True
    """Whether the encoder's own last layer fills the holes, too."""
    contrast_weight: float = 1.0
    """Weight of the contrast between spans in the loss."""
    temperature: float = 1.0
    """Dot products are divided by it."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate")
        self.check_positive("early_layer", "head_layers", "contrast_weight", "temperature")

    def contexts(self) -> Context:
        return self.context

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CoCondenserModule:
        return CoCondenserModule(self, backbone, tokenizer, "cls")


class Drawn(NamedTuple):
    """Pairs of texts with holes."""

    texts: TokenBatch
    encoder: Masked

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        labels = self.encoder.labels
        return {**tokens_of(encoder=labels, decoder=labels), "contrast": texts, "contrast_right": texts}


class CoCondenserModule(PretrainingModule):
    """The encoder, its head for masked language modelling, and Condenser's."""

    compares = True

    def __init__(self, settings: CoCondenser, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings = settings
        self.weights = {"encoder": float(settings.late_mlm), "decoder": 1.0, "contrast": settings.contrast_weight}
        self.condenser = CondenserHead(backbone, settings.head_layers, settings.early_layer)

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(batch, self.masked(batch, self.settings.encoder_mask_rate))

    def read(self, drawn: Drawn) -> Reading:
        masked, early_layer = drawn.encoder, self.condenser.early_layer
        last, early = self.backbone.encode_through(masked.ids, drawn.texts.attention, early_layer)
        sums = self.guess("encoder", last, masked.labels)
        pairs = pairs_of(last[:, 0], drawn.texts.sources.chunk(2)[0])
        return Reading(sums, (last[:, 0],), early, pairs)

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        rebuilt = self.condenser(reading.views[0], reading.hidden, drawn.texts.attention)
        return self.guess("decoder", rebuilt, drawn.encoder.labels)

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        return contrasted(compared, self.settings.temperature, normalise=False)
