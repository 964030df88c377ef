"""Two random crops of the same text (Contriever; coCondenser's two spans of a document are of the kind)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.contexts.base import Context, Material, Pairs, with_context
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded

_LEAST = 4  # tokens of a crop


@dataclass(frozen=True)
class Crops(Context, name="crops"):
    """Both texts of a pair are crops of one span, from word starts, and may overlap; this needs no neighbours."""

    least_share: float = 0.1
    """The share of a text's tokens that a crop has at least (and no crop has fewer than 4 tokens)."""
    most_share: float = 0.5
    """The share of a text's tokens that a crop has at most; shares between the two are drawn evenly."""

    def __post_init__(self) -> None:
        if not 0 < self.least_share <= self.most_share <= 1:
            raise ValueError(
                "least_share must be above 0 and no more than most_share, and that at most 1, "
                f"not {self.least_share} and {self.most_share}"
            )

    def pairs(self, material: Material) -> Pairs:
        return _Cropped(self, material)


class _Cropped(Pairs):
    """Spans of twice the tokens of the shortest crop, or more."""

    def __init__(self, settings: Crops, material: Material) -> None:
        self._shares = settings.least_share, settings.most_share
        self._spans: Spans = material.spans
        self.usable = with_context(
            self._spans.lengths >= 2 * _LEAST,
            material,
            f"room for two crops ({2 * _LEAST} tokens)",
            "Give longer texts, or raise --max_tokens if that is what cuts them short",
        )
        longest = np.ceil(self._spans.lengths[self.usable] * settings.most_share).astype(np.int64)
        self.lengths = np.maximum(longest, _LEAST)

    def __call__(self, number: int, draw: np.random.Generator) -> tuple[Encoded, Encoded]:
        return self._crop(number, draw), self._crop(number, draw)

    def _crop(self, number: int, draw: np.random.Generator) -> Encoded:
        begin, text = int(self._spans.begins[number]), self._spans[number]
        length = max(_LEAST, round(draw.uniform(*self._shares) * len(text.ids)))
        words = np.flatnonzero(text.starts[: len(text.ids) - length + 1])
        since = begin + int(words[draw.integers(len(words))])
        return self._spans.slice(since, since + length)
