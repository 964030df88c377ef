"""What an objective must say about itself, and the module it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone, recompute
from encloze.errors import RecipeError
from encloze.family import Family
from encloze.models.layers.contrast import contrast
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.decoders import DecoderLayer
from encloze.models.layers.masking import IGNORED, Masked, TokenBatch, mask_words
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.trainable import Rows, Terms, Trainable
from encloze.text.contexts.base import Context
from encloze.text.tokenizer import Tokenizer

# Shapes: batch, length, width.


@dataclass(frozen=True)
class Objective(Family):
    """What a pre-training run learns."""

    needs_head: ClassVar[bool] = True
    """Whether tokens are predicted, which takes an encoder with a head for that."""
    readings: ClassVar[int] = 1
    """How often each text is encoded in a step."""

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> PretrainingModule:
        """What is trained. ``pooling`` is how the encoder's embeddings are pooled, unless the objective says other."""
        raise NotImplementedError(type(self).__name__)

    def contexts(self) -> Context | None:
        """Where the second text of each pair comes from, where the objective learns from pairs."""
        return None

    def check_shares(self, *names: str) -> None:
        """Raise ValueError unless each of these settings lies between 0 and 1."""
        for name in names:
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")

    def check_positive(self, *names: str) -> None:
        """Raise ValueError unless each of these settings is above 0, or None."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")

    def check_weights(self, *names: str) -> None:
        """Raise ValueError where one of these weights is below 0."""
        for name in names:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Contextual(Objective):
    """An objective whose decoders rebuild another text than the encoder read."""

    context: Context = field(default_factory=lambda: Context.named("mixed"))
    """Where the other text comes from: near, overlapping, random, mixed, or queries."""
    encode_contexts: bool | None = None
    """Whether the other text is encoded, too, and rebuilds the first; by default unless it is a query."""

    def contexts(self) -> Context:
        return self.context

    def sides(self, batch: TokenBatch) -> tuple[TokenBatch, TokenBatch]:
        """The texts that are encoded, and what each is to rebuild, of a batch of pairs."""
        both_ways = self.context.mutual if self.encode_contexts is None else self.encode_contexts
        return (batch, batch.swapped()) if both_ways else batch.halves()


def bottleneck(chosen: Pooling | None, pooling: Pooling) -> Pooling:
    """The embedding that a decoder gets: the chosen one, else the encoder's own; RecipeError for max."""
    if chosen is None and pooling == "max":
        message = "a text is rebuilt from a cls or mean embedding, and this encoder pools by max: choose one"
        raise RecipeError("the objective", [("objective.bottleneck", message)])
    return chosen or pooling


class Reading(NamedTuple):
    """What an encoder made of a batch."""

    sums: dict[str, Tensor]
    """The summed losses that it has by itself."""
    views: tuple[Tensor, ...]
    """What a decoder gets to know of each text: batch x width, one or more."""
    hidden: Tensor
    """batch x length x width."""
    compared: tuple[Rows, ...] = ()
    """What ``compare`` compares, where the objective contrasts texts."""


class PretrainingModule(Trainable):
    """A backbone and what an objective puts on top of it.

    The module's call has two halves, ``read`` and ``rebuild``; between them stand the embeddings, which a monitor may
    exchange to see whether they matter. What ``draw`` returns has ``texts``, the TokenBatch that the encoder reads.
    """

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling
        self._tokenizer = tokenizer

    def read(self, drawn: Any) -> Reading:
        """The encoder's half."""
        raise NotImplementedError(type(self).__name__)

    def rebuild(self, drawn: Any, reading: Reading) -> dict[str, Tensor]:
        """The decoders' half: their summed losses, from ``reading.views``."""
        return {}

    def forward(self, drawn: Any) -> Terms:
        """The summed losses by term, and how many guesses were right."""
        reading = self.read(drawn)
        return Terms(reading.sums | self.rebuild(drawn, reading), reading.compared)

    def decoder_state(self) -> dict[str, Tensor]:
        """What pre-training needs and retrieval does not; saved beside the encoder so that it can be continued."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What a warm-up of the new parts leaves as it is."""
        return list(self.backbone.encoder.parameters())

    def checkpoint_gradients(self) -> None:
        """Trade time for memory in the encoder and the decoders."""
        self.backbone.checkpoint_gradients()
        for module in self.modules():
            if isinstance(module, DecoderLayer):
                recompute(module)

    def masked(self, batch: TokenBatch, rate: float, *, decoder: bool = False) -> Masked:
        """The texts with holes in place of whole words."""
        return mask_words(batch, rate, self.mask_id, self.backbone.config.vocab_size, decoder=decoder)

    @property
    def mask_id(self) -> int:
        return self._tokenizer.id_of("mask")

    def guess(self, term: str, hidden: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The summed cross-entropy of the labelled tokens under the encoder's head, and the right guesses."""
        total, right = summed_cross_entropy(*labelled(hidden, labels), self.backbone.head())
        return {term: total, f"{term}_right": right}

    def read_masked(self, texts: TokenBatch, masked: Masked) -> Reading:
        """Masked language modelling (the term ``encoder``) and the pooled embedding: most objectives begin so."""
        hidden = self.backbone.encode(masked.ids, texts.attention)
        embedding = pool(hidden, texts.attention, self.pooling)
        return Reading(self.guess("encoder", hidden, masked.labels), (embedding,), hidden)


def pairs_of(embeddings: Tensor, sources: Tensor) -> tuple[Rows]:
    """What a contrast compares, of the embeddings of texts and then of their partners: 2 x pairs, width."""
    return (Rows((torch.stack(embeddings.chunk(2), dim=1),), sources[:, None]),)


def contrasted(compared: tuple[Rows, ...], temperature: float, *, normalise: bool) -> dict[str, Tensor]:
    """The term ``contrast`` over the pairs of a whole step, and the right guesses."""
    (pairs,) = compared
    total, right = contrast(pairs.vectors[0], pairs.marks[:, 0], temperature, normalise=normalise)
    return {"contrast": total, "contrast_right": right}


def tokens_of(**labels: Tensor) -> dict[str, Tensor]:
    """Counts by term: how many tokens of labels (batch x length) are to be guessed."""
    return {
        name: count
        for term, wanted in labels.items()
        for count in [(wanted != IGNORED).sum()]
        for name in (term, f"{term}_right")
    }
