"""What pre-training learns from: stretches of tokenised texts, and which of them stand side by side in a source."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import Tokens

_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Spans:
    """Texts, or parts of them where they are long, numbered in the order of the corpus."""

    tokens: Tokens
    begins: np.ndarray  # int64, spans: where each lies in tokens.ids
    ends: np.ndarray  # int64, spans
    texts: np.ndarray  # int64, spans: the number of the text that each was cut from
    group: np.ndarray  # int64, spans: the number of the source of each
    order: np.ndarray  # int64, spans: their numbers, source after source, each as it is read
    left_out: int  # spans that were too short

    @classmethod
    def of(cls, tokens: Tokens, corpus: Corpus, max_tokens: int, least: int = 4) -> Spans:
        """Cut every text of more tokens than ``max_tokens`` less two special ones into parts, at word starts.

        The parts are as few as can be and of like length; only a word longer than a part is cut itself. Spans of
        fewer than ``least`` tokens are left out. Texts with the same ``Document.source`` are of one source, in the
        order of their positions (those without one last, in the order of the corpus); a text without a source is
        its own.
        """
        assert len(tokens) == len(corpus), "the tokens are those of the corpus"
        assert max_tokens > 2, "there is room beside the two special tokens"
        cuts, parts = list[int](), np.ones(len(tokens), np.int64)
        long = np.flatnonzero(tokens.lengths > max_tokens - 2).tolist()
        for text in progress.track(long, "Cutting long texts", len(long), "texts") if long else ():
            begin, end = int(tokens.offsets[text]), int(tokens.offsets[text + 1])
            found = _cuts(np.array(tokens.starts[begin:end]), max_tokens - 2)
            cuts += [begin + cut for cut in found]
            parts[text] += len(found)
        begins = np.sort(np.concatenate([tokens.offsets[:-1], np.array(cuts, np.int64)]))
        ends = np.append(begins[1:], tokens.offsets[-1])
        texts = np.repeat(np.arange(len(tokens)), parts)
        kept = ends - begins >= least
        texts = texts[kept]
        group = _sources(corpus)[texts]
        position = corpus.column("position").fill_null(_LAST).to_numpy()[texts]
        order = np.lexsort((position, group))  # stable: equals stay in the order of the corpus
        return cls(tokens, begins[kept], ends[kept], texts, group, order, int((~kept).sum()))

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, number: int) -> Encoded:
        return self.slice(int(self.begins[number]), int(self.ends[number]))

    def slice(self, begin: int, end: int) -> Encoded:
        """Any stretch of the token store; its first token starts a word, wherever it was cut."""
        starts = np.array(self.tokens.starts[begin:end])
        starts[:1] = True
        return Encoded(np.asarray(self.tokens.ids[begin:end]), starts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each span, special ones not counted."""
        return np.asarray(self.ends - self.begins)

    @cached_property
    def before(self) -> np.ndarray:
        """int64, spans: the number of the span that precedes each in its source, -1 where none does."""
        return self._linked(self.order[1:], self.order[:-1])

    @cached_property
    def after(self) -> np.ndarray:
        """int64, spans: the number of the span that follows each in its source, -1 where none does."""
        return self._linked(self.order[:-1], self.order[1:])

    def around(self, number: int, reach: int) -> np.ndarray:
        """The numbers of the spans at most ``reach`` places away in the same source, itself included, as read."""
        begin, end = self._borders[self.group[number]], self._borders[self.group[number] + 1]
        place = self._places[number]
        return self.order[max(begin, place - reach) : min(end, place + reach + 1)]

    def _linked(self, spans: np.ndarray, to: np.ndarray) -> np.ndarray:
        found = np.full(len(self), -1, np.int64)
        same = self.group[spans] == self.group[to]
        found[spans[same]] = to[same]
        return found

    @cached_property
    def _places(self) -> np.ndarray:
        """Where each span stands in the order."""
        places = np.empty_like(self.order)
        places[self.order] = np.arange(len(self))
        return places

    @cached_property
    def _borders(self) -> np.ndarray:
        """Where each source begins in the order, and where the last one ends."""
        return np.append(0, np.cumsum(np.bincount(self.group)))


def _cuts(starts: np.ndarray, most: int) -> list[int]:
    """Where the parts of a text begin, but for the first: as few parts as can be, of like length.

    Going back from the end in the longest parts tells how many are needed, and how early each may begin; then each
    is begun as near as it may to an even share of what is left.
    """
    places = _places(starts, most)
    end = places[-1]
    earliest = [end]
    while earliest[-1] > most:
        earliest.append(places[bisect_left(places, earliest[-1] - most)])
    cuts = [0]
    for left in range(len(earliest) - 1, 0, -1):
        even = cuts[-1] + (end - cuts[-1]) / (left + 1)
        at = bisect_left(places, even)
        at -= even - places[at - 1] < places[at] - even
        low, high = bisect_left(places, earliest[left]), bisect_right(places, cuts[-1] + most) - 1
        cuts.append(places[min(max(at, low), high)])
    return cuts[1:]


def _places(starts: np.ndarray, most: int) -> list[int]:
    """Where a text may be cut, its begin and its end included: where words start, and anywhere in too long ones."""
    starts[0] = True
    lengths = np.diff(np.flatnonzero(starts), append=len(starts))
    return [*np.flatnonzero(starts | np.repeat(lengths > most, lengths)).tolist(), len(starts)]


def _sources(corpus: Corpus) -> np.ndarray:
    """The number of the source of each text; int64."""
    chunks = corpus.column("source").dictionary_encode().chunks  # of one dictionary
    numbers = np.concatenate([np.empty(0, np.int64), *(chunk.indices.fill_null(-1).to_numpy() for chunk in chunks)])
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
    return numbers
