"""Interface of contexts. In contextual pre-training, the context is the second text of a training pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError
from encloze.family import Family
from encloze.text.neighbors import NeighborSampler
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer


class ContextInputs(NamedTuple):
    """Data from which the pairs of spans and contexts are built."""

    spans: Spans
    """Spans (texts, or parts of long texts) of the corpus."""
    corpus: Corpus
    """The corpus."""
    format: Format
    """Format that the corpus was read from."""
    tokenizer: Tokenizer
    """Tokenizer of the spans."""
    max_tokens: int
    """Maximum number of tokens of an input, including two special tokens."""


class ContextPairs:
    """Base class of pairs of a span and its context. Contexts are sampled each time that a pair is accessed."""

    span_numbers: np.ndarray
    """Indices of the spans that have a context (int64, one per pair)."""
    lengths: np.ndarray
    """Number of tokens of the longer text of each pair, without special tokens (int64, one per pair). If the context
    is sampled, this is the highest number that can occur."""
    fingerprint: str = ""
    """Hash of the data other than the corpus that the pairs are built from, such as queries; empty if there is none."""

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        """Return a span and its context.

        Args:
            number: Index of the span; one of ``span_numbers``.
            rng: Source of randomness.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Context(Family):
    """Base class of contexts: how the second text of a training pair is selected. A subclass implements ``pairs``.

    Example:
        >>> from encloze.text.contexts.crops import Crops
        >>> Crops(min_ratio=0.2).max_ratio
        0.5
    """

    is_symmetric: ClassVar[bool] = True
    """Whether the two texts of a pair can be exchanged: each is a possible context of the other."""

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        """Return the pairs of spans and contexts of a corpus. Reports the number of texts that have no context.

        Args:
            inputs: Spans and corpus.

        Raises:
            DataError: No text has a context.
        """
        raise NotImplementedError(type(self).__name__)


class NeighborPairs(ContextPairs):
    """Pairs of a span and a context from the same source document; a randomly chosen sampler draws the context."""

    def __init__(self, inputs: ContextInputs, *samplers: NeighborSampler) -> None:
        """Store the spans that have a neighbor, and the samplers.

        Args:
            inputs: Spans and corpus.
            samplers: Samplers to choose from, with equal probability.
        """
        self._spans, self._samplers = inputs.spans, samplers
        has_neighbor = (self._spans.previous_span >= 0) | (self._spans.next_span >= 0)
        self.span_numbers = select_spans(
            has_neighbor,
            inputs,
            "have no neighbor",
            "Contextual pre-training needs documents with doc_id and position (BEIR layout), or texts longer than "
            f"max_tokens ({inputs.max_tokens}). Use such a corpus, lower --max_tokens, use the context crops, or use "
            "an objective without contexts (retromae, dupmae, lexmae, bow)",
        )
        lengths = np.maximum.reduce([self._spans.lengths, *(sampler.max_lengths() for sampler in samplers)])
        self.lengths = lengths[self.span_numbers]

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        sampler = self._samplers[rng.integers(len(self._samplers))]
        return self._spans[number], sampler(number, rng)


def select_spans(has_context: np.ndarray, inputs: ContextInputs, reason: str, remedy: str) -> np.ndarray:
    """Return the indices of the spans that have a context, as int64. Reports the number of texts without a context.

    Args:
        has_context: Whether each span has a context, bool ``(spans,)``.
        inputs: Spans and corpus.
        reason: End of a message about texts without a context, such as ``have no neighbor``.
        remedy: What the user can do; it is appended to the error message.

    Returns:
        Indices of the spans, int64.

    Raises:
        DataError: No span has a context.
    """
    spans = inputs.spans
    if not has_context.any():
        raise DataError(f"{inputs.format.location()}: all texts {reason}. {remedy}")
    texts = len(np.unique(spans.text_numbers))
    if skipped := texts - len(np.unique(spans.text_numbers[has_context])):
        progress.note(f"{skipped} of {texts} texts {reason} and are skipped")
    return np.flatnonzero(has_context)
