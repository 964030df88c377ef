"""Base classes of contexts. In contextual pre-training, a training pair consists of a span and its context."""

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
    """Input of ``Context.pairs``: the data from which the pairs of a span and its context are built."""

    spans: Spans
    """Spans of the corpus. A span is a text, or a part of a long text."""
    corpus: Corpus
    """Corpus that the spans were cut from."""
    format: Format
    """Format of the files that the corpus was read from."""
    tokenizer: Tokenizer
    """Tokenizer that the texts of the corpus were tokenized with."""
    max_tokens: int
    """Maximum number of tokens of a model input, including two special tokens."""


class ContextPairs:
    """Base class of collections of training pairs. A pair consists of a span and its context.

    The context of a span is sampled again each time that the pair is accessed.
    """

    span_numbers: np.ndarray
    """Indices of the spans that have a context (int64, one per pair)."""
    lengths: np.ndarray
    """Number of tokens of the longer text of each pair, without special tokens (int64, one per pair). If the context
    is sampled, this is an upper bound of that number."""
    fingerprint: str = ""
    """Hash of additional data from which the pairs are built, such as queries. Empty if they are built from the corpus
    alone."""

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        """Return a span and its context.

        Args:
            number: Index of the span; one of ``span_numbers``.
            rng: Source of randomness.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Context(Family):
    """Base class of contexts. The method ``pairs`` of a subclass defines how the context of a span is selected.

    Example:
        >>> from encloze.text.contexts.crops import Crops
        >>> Crops(min_ratio=0.2).max_ratio
        0.5
    """

    is_symmetric: ClassVar[bool] = True
    """Whether the two texts of a pair are interchangeable, because each can be the context of the other."""

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        """Return the pairs of spans and contexts of a corpus. A progress note reports how many texts have no context.

        Args:
            inputs: Spans of the corpus, and the corpus with its format and tokenizer.

        Raises:
            DataError: No text has a context.
        """
        raise NotImplementedError(type(self).__name__)


class NeighborPairs(ContextPairs):
    """Pairs of a span and a context from the same document. The context is sampled by a randomly chosen sampler."""

    def __init__(self, inputs: ContextInputs, *samplers: NeighborSampler) -> None:
        """Select the spans that have a neighbor: a previous or next span in the same source document.

        Args:
            inputs: Spans of the corpus, and the corpus with its format and tokenizer.
            samplers: Samplers of contexts. For each context, one of them is chosen with equal probability.
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
    """Return the indices of the spans that have a context. A progress note reports how many texts have no context.

    Args:
        has_context: Whether each span has a context, bool ``(spans,)``.
        inputs: Spans of the corpus, and the corpus with its format and tokenizer.
        reason: Why texts have no context: a clause without its subject, such as ``have no neighbor``, for messages.
        remedy: Advice to the user, which is appended to the error message.

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
