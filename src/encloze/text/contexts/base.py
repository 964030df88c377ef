"""Context: the second text of a training pair in contextual pre-training."""

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
    """Data that a context is built from."""

    spans: Spans
    """Spans of the corpus."""
    corpus: Corpus
    """The corpus."""
    format: Format
    """Format that the corpus was read from."""
    tokenizer: Tokenizer
    """Tokenizer of the spans."""
    max_tokens: int
    """Maximum number of tokens of an input, including two special tokens."""


class ContextPairs:
    """Base class of pairs of spans and their contexts, which are sampled on access."""

    span_numbers: np.ndarray
    """int64, pairs: indices of the spans that have a context."""
    lengths: np.ndarray
    """int64, pairs: number of tokens of the longer text of each pair, without special tokens; an upper bound if texts
    are sampled."""
    fingerprint: str = ""
    """Hash of the data that the pairs use in addition to the corpus."""

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        """Return a span and its context.

        Args:
            number: Index of the span; one of ``span_numbers``.
            rng: Source of randomness.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Context(Family):
    """Base class of contexts. A member implements ``pairs``.

    Example:
        >>> from encloze.text.contexts.crops import Crops
        >>> Crops(min_ratio=0.2).max_ratio
        0.5
    """

    is_symmetric: ClassVar[bool] = True
    """Whether the relation is symmetric: a span is also a possible context of its context."""

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        """Return the pairs of a corpus. Reports the number of texts that have no context.

        Args:
            inputs: Spans and corpus.

        Raises:
            DataError: No text has a context.
        """
        raise NotImplementedError(type(self).__name__)


class NeighborPairs(ContextPairs):
    """Spans with contexts from the same source document. On each access, a sampler is chosen at random."""

    def __init__(self, inputs: ContextInputs, *samplers: NeighborSampler) -> None:
        """Initialize the pairs.

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
    """Return the indices of the spans that have a context. Reports the number of texts without a context.

    Args:
        has_context: bool, spans.
        inputs: Spans and corpus.
        reason: Reason why texts have no context, for messages, such as ``have no neighbor``.
        remedy: Sentence that is appended to the error.

    Returns:
        int64: indices of the spans.

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
