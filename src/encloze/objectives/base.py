"""What an objective must say about itself, and the module it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from encloze.backbones.base import Backbone
from encloze.family import Family
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Objective(Family):
    """What a pre-training run learns."""

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> PretrainingModule:
        """What is trained. ``pooling`` is how the encoder's embeddings are pooled, unless the objective says other."""
        raise NotImplementedError(type(self).__name__)


class PretrainingModule(nn.Module):
    """A backbone and what an objective puts on top of it.

    Training first calls ``draw``, which makes every random choice of a batch and tells how many tokens each term of
    the loss will be summed over, and then the module itself with what was drawn: it returns sums by term. The loop
    divides by the counts of all processes and accumulated batches, so these never change the loss.
    """

    weights: ClassVar[dict[str, float]]
    """The weight of each term in the loss; terms without one are only logged."""

    def __init__(self, backbone: Backbone, pooling: Pooling) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling

    def draw(self, batch: TokenBatch) -> Any:
        """The batch with its random choices made: a record with ``counts()``, tokens by term."""
        raise NotImplementedError(type(self).__name__)

    def decoders(self) -> nn.Module | None:
        """What pre-training needs and retrieval does not; saved beside the encoder so that it can be continued."""
        return None

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What a warm-up of the new parts leaves as it is."""
        return list(self.backbone.encoder.parameters())

    def checkpoint_gradients(self) -> None:
        """Trade time for memory in the encoder and the decoders."""
        self.backbone.checkpoint_gradients()
