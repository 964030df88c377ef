"""Samplers that return, for a span, a random text near the span in the same source document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded


@dataclass(frozen=True)
class NeighborSampler:
    """Base class of samplers. For a span, a sampler returns a random text near the span in the same document."""

    spans: Spans

    def __call__(self, number: int, rng: np.random.Generator) -> Encoded:
        """Return a random text near a span in the same source document.

        Args:
            number: Index of the span, which must have a previous or next span in the same source document.
            rng: Source of randomness.
        """
        raise NotImplementedError(type(self).__name__)

    def max_lengths(self) -> np.ndarray:
        """Return, for each span, the maximum number of tokens of the text that is sampled (int64, one per span)."""
        raise NotImplementedError(type(self).__name__)


class AdjacentSampler(NeighborSampler):
    """For a span, samples the previous or the next span in its document, with equal probability if both exist."""

    def __call__(self, number: int, rng: np.random.Generator) -> Encoded:
        adjacent = int(self.spans.previous_span[number]), int(self.spans.next_span[number])
        existing = [span for span in adjacent if span >= 0]
        return self.spans[existing[rng.integers(len(existing))]]

    def max_lengths(self) -> np.ndarray:
        lengths = np.append(self.spans.lengths, 0)  # -1, no span, selects the appended 0
        return np.asarray(np.maximum(lengths[self.spans.previous_span], lengths[self.spans.next_span]))


@dataclass(frozen=True)
class WindowSampler(NeighborSampler):
    """For a span, samples uniformly another span, at most ``max_distance`` positions away in the same document."""

    max_distance: int

    def __call__(self, number: int, rng: np.random.Generator) -> Encoded:
        window = self.spans.window(number, self.max_distance)
        sampled = window[rng.integers(len(window) - 1)]
        return self.spans[int(window[-1] if sampled == number else sampled)]  # the last replaces the span itself

    def max_lengths(self) -> np.ndarray:
        longest = np.zeros(int(self.spans.source_numbers.max(initial=-1)) + 1, np.int64)
        np.maximum.at(longest, self.spans.source_numbers, self.spans.lengths)
        return np.asarray(longest[self.spans.source_numbers])


class OverlapSampler(NeighborSampler):
    """Samples a text that overlaps the span: the end of the span, followed by the beginning of the next span.

    For the last span of a source document, the text is the end of the previous span, followed by the beginning of the
    last span. The part of the text that is from the span itself has a random number of tokens, between a quarter and
    half of the span. It is cut off at a word start, or inside the word if the span is a single word. The part from
    the previous or next span is as long as possible while the text has no more tokens than the longer of the two spans.
    """

    def __call__(self, number: int, rng: np.random.Generator) -> Encoded:
        spans, next_span = self.spans, int(self.spans.next_span[number])
        start, end = int(spans.starts[number]), int(spans.ends[number])
        other = next_span if next_span >= 0 else int(spans.previous_span[number])
        other_start, other_end = int(spans.starts[other]), int(spans.ends[other])
        max_tokens = max(end - start, other_end - other_start)
        share = max(1, round(rng.uniform(0.25, 0.5) * (end - start)))
        word_starts = start + 1 + np.flatnonzero(spans.tokens.word_starts[start + 1 : end])
        if next_span >= 0:
            cut = _nearest(word_starts, end - share, from_above=True)
            other_end = min(other_end, other_start + max_tokens - (end - cut))
            return _concatenate(spans.slice(cut, end), spans.slice(other_start, other_end))
        cut = _nearest(word_starts, start + share, from_above=False)
        other_start = max(other_start, other_end - max_tokens + (cut - start))
        other_start += int(np.argmax(np.append(spans.tokens.word_starts[other_start:other_end], False)))
        return _concatenate(spans.slice(other_start, other_end), spans.slice(start, cut))

    def max_lengths(self) -> np.ndarray:
        lengths = np.append(self.spans.lengths, 0)
        other = np.where(self.spans.next_span >= 0, self.spans.next_span, self.spans.previous_span)
        return np.asarray(np.maximum(self.spans.lengths, lengths[other]))


def _nearest(word_starts: np.ndarray, position: int, *, from_above: bool) -> int:
    """Return the first word start from ``position`` on; if ``from_above`` is False, the last one up to ``position``.

    If no word start is on that side of ``position``, return the nearest one on the other side. If ``word_starts`` is
    empty, return ``position``.
    """
    if not len(word_starts):
        return position
    index = np.searchsorted(word_starts, position, "left" if from_above else "right") - (not from_above)
    return int(word_starts[np.clip(index, 0, len(word_starts) - 1)])


def _concatenate(*parts: Encoded) -> Encoded:
    return Encoded(np.concatenate([part.ids for part in parts]), np.concatenate([part.word_starts for part in parts]))
