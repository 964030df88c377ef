"""What stands around a span in its source, and how a text is picked from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded


@dataclass(frozen=True)
class Picker:
    """Picks another text for a span that has a neighbour."""

    spans: Spans

    def __call__(self, number: int, draw: np.random.Generator) -> Encoded:
        """A text from around the span ``number``."""
        raise NotImplementedError(type(self).__name__)

    def longest(self) -> np.ndarray:
        """No more tokens than these are picked for each span: int64, spans."""
        raise NotImplementedError(type(self).__name__)


class Beside(Picker):
    """The span before or the one after, drawn evenly from those that exist."""

    def __call__(self, number: int, draw: np.random.Generator) -> Encoded:
        there = [side for side in (int(self.spans.before[number]), int(self.spans.after[number])) if side >= 0]
        return self.spans[there[draw.integers(len(there))]]

    def longest(self) -> np.ndarray:
        lengths = np.append(self.spans.lengths, 0)  # what -1 stands for
        return np.asarray(np.maximum(lengths[self.spans.before], lengths[self.spans.after]))


@dataclass(frozen=True)
class Within(Picker):
    """Any other span at most ``reach`` places away, evenly."""

    reach: int

    def __call__(self, number: int, draw: np.random.Generator) -> Encoded:
        around = self.spans.around(number, self.reach)
        drawn = around[draw.integers(len(around) - 1)]
        return self.spans[int(around[-1] if drawn == number else drawn)]  # the last takes the place of the span itself

    def longest(self) -> np.ndarray:
        found = np.zeros(int(self.spans.group.max(initial=-1)) + 1, np.int64)
        np.maximum.at(found, self.spans.group, self.spans.lengths)
        return np.asarray(found[self.spans.group])


class Across(Picker):
    """The end of the span and the beginning of the next one; for a source's last span, the end of the previous one and
    its own beginning.

    Of the span itself it takes a quarter to a half of the tokens, from or to a word start; a span of a single word is
    cut inside of it. In all there are no more tokens than the longer of the two spans has.
    """

    def __call__(self, number: int, draw: np.random.Generator) -> Encoded:
        spans, after = self.spans, int(self.spans.after[number])
        begin, end = int(spans.begins[number]), int(spans.ends[number])
        other = after if after >= 0 else int(spans.before[number])
        there, its_end = int(spans.begins[other]), int(spans.ends[other])
        most, share = max(end - begin, its_end - there), max(1, round(draw.uniform(0.25, 0.5) * (end - begin)))
        words = begin + 1 + np.flatnonzero(spans.tokens.starts[begin + 1 : end])
        if after >= 0:
            cut = _nearest(words, end - share, from_above=True)
            return _joined(spans.slice(cut, end), spans.slice(there, min(its_end, there + most - (end - cut))))
        cut = _nearest(words, begin + share, from_above=False)
        since = max(there, its_end - most + (cut - begin))
        since += int(np.argmax(np.append(spans.tokens.starts[since:its_end], False)))
        return _joined(spans.slice(since, its_end), spans.slice(begin, cut))

    def longest(self) -> np.ndarray:
        lengths = np.append(self.spans.lengths, 0)
        other = np.where(self.spans.after >= 0, self.spans.after, self.spans.before)
        return np.asarray(np.maximum(self.spans.lengths, lengths[other]))


def _nearest(words: np.ndarray, place: int, *, from_above: bool) -> int:
    """The first word start from ``place`` on, or the last up to it; else the nearest, and ``place`` where none is."""
    if not len(words):
        return place
    at = np.searchsorted(words, place, "left" if from_above else "right") - (not from_above)
    return int(words[np.clip(at, 0, len(words) - 1)])


def _joined(*parts: Encoded) -> Encoded:
    return Encoded(np.concatenate([part.ids for part in parts]), np.concatenate([part.starts for part in parts]))
