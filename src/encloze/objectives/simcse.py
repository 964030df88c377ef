"""Unsupervised SimCSE (Gao, Yao and Chen, EMNLP 2021, https://arxiv.org/abs/2104.08821).

Each text is encoded twice with different dropout masks, and a contrastive loss brings the two embeddings closer to
each other than to those of other texts. The other texts are those of the whole training step, over all processes and
micro-batches (gradient caching). The published model applies an additional layer to the CLS vector during training;
this implementation does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.pretraining_module import EncoderOutput
from encloze.objectives._contrastive import ContrastiveModule, contrastive_counts, pair_embeddings
from encloze.objectives.base import Objective
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SimCse(Objective, name="simcse"):
    """Contrastive loss between two encodings of the same text, which differ only by dropout.

    Example:
        >>> SimCse(temperature=0.1).encoder_passes
        2
    """

    needs_mlm_head: ClassVar[bool] = False
    encoder_passes: ClassVar[int] = 2

    temperature: float = 0.05
    """Number by which the cosine similarities in the contrastive loss are divided."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """Pooling of the embeddings; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        self.check_positive("temperature")

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> SimCseModule:
        config = backbone.layer_config
        if not (config.hidden_dropout_prob or config.attention_probs_dropout_prob):
            message = "simcse needs dropout to make two embeddings of a text, and the encoder has none: use cropping"
            raise RecipeError("the objective", [("objective", message)])
        return SimCseModule(self, backbone, tokenizer, self.pooling or pooling)


@dataclass(frozen=True)
class SimCseBatch:
    """Unmasked texts, each of which is encoded twice."""

    texts: TokenBatch

    def counts(self) -> dict[str, Tensor]:
        return contrastive_counts(self.texts, views=2)


class SimCseModule(ContrastiveModule):
    """Module of the SimCSE objective: the encoder, without new layers."""

    def __init__(self, settings: SimCse, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.temperature, self.normalize = settings.temperature, True
        self.loss_weights = {"contrastive": 1.0}
        backbone.freeze_mlm_head()

    def sample(self, batch: TokenBatch) -> SimCseBatch:
        return SimCseBatch(batch)

    def encode(self, sampled: SimCseBatch) -> EncoderOutput:
        texts = sampled.texts
        ids, attention_mask = (torch.cat([tensor, tensor]) for tensor in (texts.ids, texts.attention_mask))
        hidden = self.backbone.encode(ids, attention_mask)
        embedding = pool(hidden, attention_mask, self.pooling)
        first, _ = embedding.chunk(2)
        return EncoderOutput({}, (first,), hidden[: len(first)], pair_embeddings(embedding, texts.source_ids))
