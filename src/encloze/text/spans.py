"""Spans for pre-training. A span is a tokenized text, or a part of a long text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import TokenizedTexts

_NO_POSITION = np.iinfo(np.int64).max  # texts without a position come last


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of a corpus, in the order of the corpus. A span is a tokenized text, or a part of a long text.

    Example:
        >>> spans = Spans.from_tokens(tokens, corpus, max_tokens=128)  # doctest: +SKIP
        >>> spans[0].ids  # doctest: +SKIP
        array([2003, 1037, ...], dtype=int32)
    """

    tokens: TokenizedTexts
    """Tokens of all texts of the corpus."""
    starts: np.ndarray
    """Index of the first token of each span in ``tokens.ids`` (int64, one per span)."""
    ends: np.ndarray
    """Index of the last token of each span in ``tokens.ids``, plus 1 (int64, one per span)."""
    text_numbers: np.ndarray
    """Index of the text that each span was cut from (int64, one per span)."""
    source_numbers: np.ndarray
    """Index of the source document of each span (int64, one per span)."""
    reading_order: np.ndarray
    """Indices of the spans, ordered by source document and by position in the document (int64, one per span)."""
    num_dropped: int
    """Number of spans that were dropped because they were too short."""

    @classmethod
    def from_tokens(cls, tokens: TokenizedTexts, corpus: Corpus, max_tokens: int, min_tokens: int = 4) -> Spans:
        """Cut tokenized texts into spans.

        A text longer than ``max_tokens`` minus two special tokens is cut at word starts into as few parts as possible,
        of similar length. A word is only cut if it is too long for one part. Texts with the same ``Document.source``
        belong to one source document, ordered by ``Document.position``; texts without a position come last, in the
        order of the corpus. A text without a source is a source document of its own.

        Args:
            tokens: The tokenized corpus.
            corpus: The corpus.
            max_tokens: Maximum number of tokens of an input, including two special tokens; 3 or more.
            min_tokens: Minimum number of tokens of a span; shorter ones are dropped.
        """
        assert len(tokens) == len(corpus), "tokens and corpus have different lengths"
        assert max_tokens > 2, "max_tokens includes two special tokens"
        cuts, parts = list[int](), np.ones(len(tokens), np.int64)
        long_texts = np.flatnonzero(tokens.lengths > max_tokens - 2).tolist()
        if long_texts:
            for text in progress.track(long_texts, "Cutting long texts", len(long_texts), "texts"):
                start, end = int(tokens.offsets[text]), int(tokens.offsets[text + 1])
                text_cuts = _find_cuts(np.array(tokens.word_starts[start:end]), max_tokens - 2)
                cuts += [start + cut for cut in text_cuts]
                parts[text] += len(text_cuts)
        starts = np.sort(np.concatenate([tokens.offsets[:-1], np.array(cuts, np.int64)]))
        ends = np.append(starts[1:], tokens.offsets[-1])
        is_long_enough = ends - starts >= min_tokens
        text_numbers = np.repeat(np.arange(len(tokens)), parts)[is_long_enough]
        source_numbers = _source_numbers(corpus)[text_numbers]
        positions = corpus.column("position").fill_null(_NO_POSITION).to_numpy()[text_numbers]
        reading_order = np.lexsort((positions, source_numbers))  # stable: ties stay in the order of the corpus
        num_dropped = int((~is_long_enough).sum())
        return cls(
            tokens,
            starts[is_long_enough],
            ends[is_long_enough],
            text_numbers,
            source_numbers,
            reading_order,
            num_dropped,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Encoded:
        return self.slice(int(self.starts[number]), int(self.ends[number]))

    def slice(self, start: int, end: int) -> Encoded:
        """Return the tokens ``start`` to ``end - 1`` of the corpus. The first of them is marked as a word start."""
        word_starts = np.array(self.tokens.word_starts[start:end])
        word_starts[:1] = True
        return Encoded(np.asarray(self.tokens.ids[start:end]), word_starts)

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each span, without special tokens (int64, one per span)."""
        return np.asarray(self.ends - self.starts)

    @cached_property
    def previous_span(self) -> np.ndarray:
        """Index of the previous span in the same source document, or -1 if there is none (int64, one per span)."""
        return self._link(self.reading_order[1:], self.reading_order[:-1])

    @cached_property
    def next_span(self) -> np.ndarray:
        """Index of the next span in the same source document, or -1 if there is none (int64, one per span)."""
        return self._link(self.reading_order[:-1], self.reading_order[1:])

    def window(self, number: int, max_distance: int) -> np.ndarray:
        """Return the indices of a span and of the spans at most ``max_distance`` spans before or after it.

        Only spans of the same source document are returned, ordered by their position in it.
        """
        source = self.source_numbers[number]
        first, last = self._source_offsets[source], self._source_offsets[source + 1]
        rank = self._ranks[number]
        return self.reading_order[max(first, rank - max_distance) : min(last, rank + max_distance + 1)]

    def _link(self, spans: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return an array with one index per span of the corpus (int64): ``targets[i]`` at position ``spans[i]``.

        The index is -1 if ``spans[i]`` and ``targets[i]`` are in different source documents, and at the position of
        each span that is not in ``spans``.
        """
        linked = np.full(len(self), -1, np.int64)
        is_same_source = self.source_numbers[spans] == self.source_numbers[targets]
        linked[spans[is_same_source]] = targets[is_same_source]
        return linked

    @cached_property
    def _ranks(self) -> np.ndarray:
        """Position of each span in ``reading_order`` (int64, one per span)."""
        ranks = np.empty_like(self.reading_order)
        ranks[self.reading_order] = np.arange(len(self))
        return ranks

    @cached_property
    def _source_offsets(self) -> np.ndarray:
        """Index in ``reading_order`` of each source document's first span, followed by the number of spans (int64)."""
        return np.append(0, np.cumsum(np.bincount(self.source_numbers)))


def _find_cuts(word_starts: np.ndarray, max_length: int) -> list[int]:
    """Return the positions at which a text is cut into as few parts as possible, of similar length.

    First, the text is divided from its end into parts of maximal length. This gives the number of parts and the
    earliest possible start of each part. Then each start is chosen as close as possible to an even division of the
    remaining text.
    """
    positions = _cut_positions(word_starts, max_length)
    end = positions[-1]
    earliest = [end]
    while earliest[-1] > max_length:
        earliest.append(positions[bisect_left(positions, earliest[-1] - max_length)])
    cuts = [0]
    for remaining in range(len(earliest) - 1, 0, -1):
        even = cuts[-1] + (end - cuts[-1]) / (remaining + 1)
        index = bisect_left(positions, even)
        index -= even - positions[index - 1] < positions[index] - even
        low = bisect_left(positions, earliest[remaining])
        high = bisect_right(positions, cuts[-1] + max_length) - 1
        cuts.append(positions[min(max(index, low), high)])
    return cuts[1:]


def _cut_positions(word_starts: np.ndarray, max_length: int) -> list[int]:
    """Return the positions at which a text may be cut: its ends, word starts, and positions in too long words."""
    word_starts[0] = True
    lengths = np.diff(np.flatnonzero(word_starts), append=len(word_starts))
    is_position = word_starts | np.repeat(lengths > max_length, lengths)
    return [*np.flatnonzero(is_position).tolist(), len(word_starts)]


def _source_numbers(corpus: Corpus) -> np.ndarray:
    """Return the index of each text's source document (int64). A text without a source is its own source document."""
    chunks = corpus.column("source").dictionary_encode().chunks  # all chunks share one dictionary
    numbers = np.concatenate([np.empty(0, np.int64), *(chunk.indices.fill_null(-1).to_numpy() for chunk in chunks)])
    has_no_source = numbers < 0
    numbers[has_no_source] = numbers.max(initial=-1) + 1 + np.arange(has_no_source.sum())
    return numbers
