"""Pairs of two random crops of the same span, as in Contriever (Izacard et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.contexts.base import Context, ContextInputs, ContextPairs, select_spans
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded

_MIN_TOKENS = 4  # of a crop


@dataclass(frozen=True)
class Crops(Context, name="crops"):
    """Two random crops of the same span, which may overlap. Each crop begins at the start of a word."""

    min_ratio: float = 0.1
    """Minimum length of a crop, as a fraction of the tokens of the span. A crop always has at least 4 tokens."""
    max_ratio: float = 0.5
    """Maximum length of a crop, as a fraction of the tokens of the span. Crop lengths are sampled uniformly."""

    def __post_init__(self) -> None:
        if not 0 < self.min_ratio <= self.max_ratio <= 1:
            raise ValueError(
                "min_ratio and max_ratio must satisfy 0 < min_ratio <= max_ratio <= 1, "
                f"but they are {self.min_ratio} and {self.max_ratio}"
            )

    def pairs(self, inputs: ContextInputs) -> ContextPairs:
        return _CropPairs(self, inputs)


class _CropPairs(ContextPairs):
    """Pairs of two crops of the same span. Spans of fewer than ``2 * _MIN_TOKENS`` tokens get no pair."""

    def __init__(self, settings: Crops, inputs: ContextInputs) -> None:
        self._ratios = settings.min_ratio, settings.max_ratio
        self._spans: Spans = inputs.spans
        self.span_numbers = select_spans(
            self._spans.lengths >= 2 * _MIN_TOKENS,
            inputs,
            f"are too short for two crops ({2 * _MIN_TOKENS} tokens)",
            "Use longer texts, or raise --max_tokens if texts are cut too short",
        )
        lengths = np.ceil(self._spans.lengths[self.span_numbers] * settings.max_ratio).astype(np.int64)
        self.lengths = np.maximum(lengths, _MIN_TOKENS)

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[Encoded, Encoded]:
        return self._crop(number, rng), self._crop(number, rng)

    def _crop(self, number: int, rng: np.random.Generator) -> Encoded:
        span_start, span = int(self._spans.starts[number]), self._spans[number]
        length = max(_MIN_TOKENS, round(rng.uniform(*self._ratios) * len(span.ids)))
        word_starts = np.flatnonzero(span.word_starts[: len(span.ids) - length + 1])
        start = span_start + int(word_starts[rng.integers(len(word_starts))])
        return self._spans.slice(start, start + length)
