"""SimCSE (Gao, Yao and Chen, EMNLP 2021, https://arxiv.org/abs/2104.08821): a text should find itself again.

Each text is encoded twice, with dropout drawn anew, and the two vectors should find each other among those of the
batch, which is the whole step's, over all processes and accumulated parts (gradient caching). The unsupervised kind.
Differences: the published one has a layer of its own over the first token while it trains; here there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.errors import RecipeError
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.trainable import Rows
from encloze.objectives.base import Objective, PretrainingModule, Reading, contrasted, pairs_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SimCse(Objective, name="simcse"):
    """Two encodings of a text, which differ by dropout alone, should find each other."""

    needs_head: ClassVar[bool] = False
    readings: ClassVar[int] = 2

    temperature: float = 0.05
    """Cosines are divided by it."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """How embeddings are pooled; by default as the encoder was trained to."""

    def __post_init__(self) -> None:
        self.check_positive("temperature")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> SimCseModule:
        if not (backbone.shape.dropout or backbone.shape.attention_dropout):
            message = "the encoder has no dropout, which alone would tell its two views of a text apart: take cropping"
            raise RecipeError("the objective", [("objective", message)])
        return SimCseModule(self, backbone, tokenizer, self.pooling or pooling)


class Drawn(NamedTuple):
    """Texts as they are."""

    texts: TokenBatch

    def counts(self) -> dict[str, Tensor]:
        twice = torch.tensor(2 * len(self.texts.ids), device=self.texts.ids.device)
        return {"contrast": twice, "contrast_right": twice}


class SimCseModule(PretrainingModule):
    """The encoder alone."""

    compares = True

    def __init__(self, settings: SimCse, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.weights = settings, {"contrast": 1.0}
        backbone.keep_head()

    def draw(self, batch: TokenBatch) -> Drawn:
        return Drawn(batch)

    def read(self, drawn: Drawn) -> Reading:
        ids, attention = (torch.cat([tensor, tensor]) for tensor in (drawn.texts.ids, drawn.texts.attention))
        hidden = self.backbone.encode(ids, attention)
        embedding = pool(hidden, attention, self.pooling)
        first, _ = embedding.chunk(2)
        return Reading({}, (first,), hidden[: len(first)], pairs_of(embedding, drawn.texts.sources))

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        return contrasted(compared, self.settings.temperature, normalise=True)
