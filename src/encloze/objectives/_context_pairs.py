"""Base class of the objectives that reconstruct a text related to the encoder's input."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from encloze.models.layers.masking import MaskedTokens, TokenBatch
from encloze.models.layers.token_pairs import split_pairs, swap_pairs
from encloze.models.pretraining_module import MaskedBatch, PretrainingModule, token_counts
from encloze.objectives.base import Objective
from encloze.text.contexts.base import Context


@dataclass(frozen=True)
class ContextObjective(Objective):
    """Base class of objectives whose decoders reconstruct a text related to the encoder's input (a span or query)."""

    context: Context = field(default_factory=lambda: Context.from_name("mixed"))
    """Source of the related text: a ``near``, ``overlapping`` or ``random`` span of the same document, ``mixed`` (one
    of these at random), or ``queries`` (a query that the text answers)."""
    encode_contexts: bool | None = None
    """Whether both texts of a pair are encoded, and each is reconstructed from the embedding of the other. If false,
    only the first text is encoded, and only the second text is reconstructed. By default true, except if ``context`` is
    ``queries``."""
    encoder_mask_rate: float = 0.30
    """Fraction of tokens masked for the encoder."""
    decoder_mask_rate: float = 0.45
    """Fraction of the related text's tokens masked for the decoder."""

    def __post_init__(self) -> None:
        self.check_fractions("encoder_mask_rate", "decoder_mask_rate")

    def pair_source(self) -> Context:
        return self.context


@dataclass(frozen=True)
class ContextBatch(MaskedBatch):
    """Texts masked for the encoder, and the text related to each of them (``contexts``), masked for the decoder."""

    contexts: TokenBatch
    decoder: MaskedTokens

    def counts(self) -> dict[str, Tensor]:
        return token_counts(encoder=self.encoder.labels, decoder=self.decoder.labels)


def sample_context_masks(module: PretrainingModule, settings: ContextObjective, batch: TokenBatch) -> ContextBatch:
    """Sample which tokens of a batch of text pairs are masked for the encoder and for the decoder.

    The first half of ``batch`` contains the first texts of the pairs, and the second half the second texts.
    """
    symmetric = settings.context.is_symmetric if settings.encode_contexts is None else settings.encode_contexts
    texts, contexts = (batch, swap_pairs(batch)) if symmetric else split_pairs(batch)
    encoder = module.mask_tokens(texts, settings.encoder_mask_rate)
    decoder = module.mask_tokens(contexts, settings.decoder_mask_rate, decoder=True)
    return ContextBatch(texts, encoder, contexts, decoder)
