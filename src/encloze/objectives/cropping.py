"""Contrastive learning of crops, in the style of Contriever (Izacard et al., TMLR 2022).

Contriever uses a queue of earlier embeddings as negatives (MoCo). Here the negatives are the other texts of the same
training step, over all processes and micro-batches (gradient caching), as in an ablation of that paper. No tokens
are masked or predicted, so any encoder can be trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.pretraining_module import EncoderOutput
from encloze.objectives._contrastive import ContrastiveModule, contrastive_counts, pair_embeddings
from encloze.objectives.base import Objective
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Cropping(Objective, name="cropping"):
    """Contrastive loss that brings two crops of a text closer to each other than to other texts.

    Example:
        >>> Cropping(pooling="mean").temperature
        0.05
    """

    needs_mlm_head: ClassVar[bool] = False

    context: Context = field(default_factory=lambda: Context.from_name("crops"))
    """Source of the pairs: ``crops`` (two crops of one text); a text and a ``near``, ``overlapping`` or ``random`` span
    of the same document, or ``mixed`` (one of these at random); or a text and a query that it answers (``queries``)."""
    temperature: float = 0.05
    """Number by which the similarities in the contrastive loss are divided."""
    normalize: bool = True
    """Whether similarities are cosines instead of dot products."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """Pooling of the embeddings; the default is the pooling of the model."""

    def __post_init__(self) -> None:
        self.check_positive("temperature")

    def pair_source(self) -> Context:
        return self.context

    def build_module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CroppingModule:
        return CroppingModule(self, backbone, tokenizer, self.pooling or pooling)


@dataclass(frozen=True)
class CroppingBatch:
    """Pairs of unmasked texts."""

    texts: TokenBatch

    def counts(self) -> dict[str, Tensor]:
        return contrastive_counts(self.texts)


class CroppingModule(ContrastiveModule):
    """Module of the cropping objective: the encoder, without new layers."""

    def __init__(self, settings: Cropping, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.temperature, self.normalize = settings.temperature, settings.normalize
        self.loss_weights = {"contrastive": 1.0}
        backbone.freeze_mlm_head()

    def sample(self, batch: TokenBatch) -> CroppingBatch:
        return CroppingBatch(batch)

    def encode(self, sampled: CroppingBatch) -> EncoderOutput:
        texts = sampled.texts
        hidden = self.backbone.encode(texts.ids, texts.attention_mask)
        embedding = pool(hidden, texts.attention_mask, self.pooling)
        return EncoderOutput({}, (embedding,), hidden, pair_embeddings(embedding, texts.source_ids.chunk(2)[0]))
