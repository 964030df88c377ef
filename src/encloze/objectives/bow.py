"""Bag-of-words prediction (Ma et al., "Drop your Decoder", 2024, https://arxiv.org/abs/2401.11248).

There is no decoder: the sentence embedding, passed through the head for masked language modeling, predicts which tokens
the text contains. As in the released code (ma787639046/bowdpr), each distinct token has weight 1 / number of distinct
tokens, and a cosine schedule reduces the weight of the loss term to a tenth.

Differences from the released code:
* Tokens that are not predicted: in the code those with ids up to 998, which are the special and unused tokens of
  bert-base-uncased; here the special tokens of the tokenizer.
* Cosine schedule: the code counts micro-batches, so the weight decreases too fast with gradient accumulation; here
  optimizer steps are counted.
* Mean pooling: the code averages the logits of all tokens; here the mean embedding passes through the head once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.bag_of_words import bag_of_words_loss, multi_hot
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.pretraining_module import EncoderOutput, MaskedBatch, PretrainingModule
from encloze.objectives.base import Objective, resolve_bottleneck
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Bow(Objective, name="bow"):
    """Predict from the embedding of a text which tokens the text contains. Has no decoder and is about as fast as MLM.

    Example:
        >>> Bow(bow_weight=0.5).final_bow_weight
        0.1
    """

    encoder_mask_rate: float = 0.30
    """Fraction of tokens masked for the encoder."""
    bow_weight: float = 1.0
    """Initial weight of the bag-of-words loss term."""
    final_bow_weight: float = 0.1
    """Final weight of the bag-of-words loss term, after a cosine decay."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Pooling of the embedding that predicts the tokens; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate")
        self.check_positive("bow_weight", "final_bow_weight")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> BowModule:
        return BowModule(self, backbone, tokenizer, resolve_bottleneck(self.bottleneck, pooling))


@dataclass(frozen=True)
class BowBatch(MaskedBatch):
    """Masked texts, and the numbers by which loss terms are divided: texts for ``bow``, tokens for ``encoder``."""

    def counts(self) -> dict[str, Tensor]:
        return super().counts() | {"bow": torch.tensor(len(self.texts.ids), device=self.texts.ids.device)}


class BowModule(PretrainingModule):
    """Module of the bag-of-words objective: encoder with its head for masked language modeling."""

    def __init__(self, settings: Bow, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.loss_weights = settings, {"encoder": 1.0, "bow": settings.bow_weight}

    def loss_weights_at(self, progress: float) -> dict[str, float]:
        first, last = self.settings.bow_weight, self.settings.final_bow_weight
        return {**self.loss_weights, "bow": last + (first - last) * (1 + math.cos(math.pi * progress)) / 2}

    def sample(self, batch: TokenBatch) -> BowBatch:
        return BowBatch(batch, self.mask_tokens(batch, self.settings.encoder_mask_rate))

    def decode(self, sampled: BowBatch, encoder_output: EncoderOutput) -> dict[str, Tensor]:
        tokens = multi_hot(sampled.texts, self.backbone.config.vocab_size)
        token_weights = 1 / tokens.sum(dim=1).clamp(min=1)
        (embedding,) = encoder_output.bottlenecks
        return {"bow": bag_of_words_loss(self.backbone.mlm_logits(embedding), tokens, token_weights)}
