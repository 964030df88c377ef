"""Bag-of-words prediction (Ma et al., "Drop your Decoder", 2024, https://arxiv.org/abs/2401.11248).

No decoder: the embedding itself, through the head for masked language modelling, should say which tokens the text
holds. As in the released code (ma787639046/bowdpr) each distinct token weighs 1 / their number, and the weight of the
term falls as a cosine from 1 to a tenth. Differences: the code leaves out ids up to 998, which for bert-base-uncased
are the special and unused tokens; here the tokenizer tells which are special. The code's fall is ``accumulation``
times too fast; here it follows the steps. Its pooling by mean averages logits; here the mean embedding is put through
the head, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.bags import bag_loss, distinct_tokens
from encloze.models.layers.masking import Masked, TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.objectives.base import Objective, PretrainingModule, Reading, bottleneck, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Bow(Objective, name="bow"):
    """Say from the embedding which tokens the text holds: no decoder, as cheap as masked language modelling."""

    encoder_mask_rate: float = 0.30
    """Share of the tokens whose words the encoder does not see."""
    bag_weight: float = 1.0
    """Weight of the bag of tokens in the loss, at the beginning."""
    last_bag_weight: float = 0.1
    """Weight of the bag of tokens at the end; it falls as a cosine."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding speaks; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate")
        self.check_positive("bag_weight", "last_bag_weight")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> BowModule:
        return BowModule(self, backbone, tokenizer, bottleneck(self.bottleneck, pooling))


class Drawn(NamedTuple):
    """Texts with holes."""

    texts: TokenBatch
    encoder: Masked

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return {**tokens_of(encoder=self.encoder.labels), "bag": texts}


class BowModule(PretrainingModule):
    """The encoder and its head."""

    def __init__(self, settings: Bow, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"encoder": 1.0, "bag": settings.bag_weight}

    def weights_at(self, done: float) -> dict[str, float]:
        first, last = self.settings.bag_weight, self.settings.last_bag_weight
        return {**self.weights, "bag": last + (first - last) * (1 + math.cos(math.pi * done)) / 2}

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(batch, self.masked(batch, self.settings.encoder_mask_rate))

    def read(self, drawn: Drawn) -> Reading:
        return self.read_masked(drawn.texts, drawn.encoder)

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        held = distinct_tokens(drawn.texts, self.backbone.config.vocab_size)
        share = 1 / held.sum(dim=1).clamp(min=1)
        return {"bag": bag_loss(self.backbone.predict(reading.views[0]), held, share)}
