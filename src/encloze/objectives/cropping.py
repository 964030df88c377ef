"""Cropping, in the style of Contriever (Izacard et al., TMLR 2022): two crops of a text should find each other.

Contriever compares with a queue of earlier embeddings (MoCo); here the other texts of the batch are the wrong ones, as
in its ablation, and the batch is the whole step's, over all processes and accumulated parts (gradient caching). Nothing
is masked and no token is guessed, so any encoder will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.trainable import Rows
from encloze.objectives.base import Objective, PretrainingModule, Reading, contrasted, pairs_of
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Cropping(Objective, name="cropping"):
    """Two crops of a text should be closer to each other than to any other text's."""

    needs_head: ClassVar[bool] = False

    context: Context = field(default_factory=lambda: Context.named("crops"))
    """Where the pairs come from: crops of one text, or near, overlapping, random, mixed, queries."""
    temperature: float = 0.05
    """Similarities are divided by it."""
    normalise: bool = True
    """Whether embeddings are compared by cosine, not by dot product."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """How embeddings are pooled; by default as the encoder was trained to."""

    def __post_init__(self) -> None:
        self.check_positive("temperature")

    def contexts(self) -> Context:
        return self.context

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> CroppingModule:
        return CroppingModule(self, backbone, tokenizer, self.pooling or pooling)


class Drawn(NamedTuple):
    """Pairs of texts as they are."""

    texts: TokenBatch

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return {"contrast": texts, "contrast_right": texts}


class CroppingModule(PretrainingModule):
    """The encoder alone."""

    compares = True

    def __init__(self, settings: Cropping, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"contrast": 1.0}
        backbone.keep_head()

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(batch)

    def read(self, drawn: Drawn) -> Reading:
        hidden = self.backbone.encode(drawn.texts.ids, drawn.texts.attention)
        embedding = pool(hidden, drawn.texts.attention, self.pooling)
        pairs = pairs_of(embedding, drawn.texts.sources.chunk(2)[0])
        return Reading({}, (embedding,), hidden, pairs)

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        return contrasted(compared, self.settings.temperature, normalise=self.settings.normalise)
