"""A context: the other text of a pair, which contextual pre-training learns from beside a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError
from encloze.family import Family
from encloze.text.neighbours import Picker
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer


class Material(NamedTuple):
    """What a context can be taken from."""

    spans: Spans
    corpus: Corpus
    format: Format
    tokenizer: Tokenizer
    max_tokens: int


class Pairs:
    """Texts with their contexts, drawn when they are asked for."""

    usable: np.ndarray  # int64: numbers of the spans that have a context
    lengths: np.ndarray  # int64, beside usable: tokens that the longer of the two has at most, special ones aside

    fingerprint: str = ""
    """Changes with what the pairs are made of beside the corpus."""

    def __call__(self, number: int, draw: np.random.Generator) -> tuple[Encoded, Encoded]:
        """A text and its context; ``number`` is a span's. All that is random comes from ``draw``."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Context(Family):
    """Where the other text of a pair comes from."""

    mutual: ClassVar[bool] = True
    """Whether the context is a text like the other, for which that one would be a context as well."""

    def pairs(self, material: Material) -> Pairs:
        """The pairs of a corpus. Raises DataError where no text has a context; notes how many texts have none."""
        raise NotImplementedError(type(self).__name__)


class Neighbours(Pairs):
    """Spans with what one of some pickers, drawn evenly each time, takes from around them."""

    def __init__(self, material: Material, *pickers: Picker) -> None:
        self._spans, self._pickers = material.spans, pickers
        has = (self._spans.before >= 0) | (self._spans.after >= 0)
        self.usable = with_context(
            has,
            material,
            "a neighbour",
            "Contextual pre-training needs documents with doc_id and position (BEIR layout), or texts longer than "
            f"max_tokens ({material.max_tokens}): give such a corpus, lower --max_tokens, take a context that needs no "
            "neighbours (crops), or an objective that needs none (retromae, dupmae, lexmae, bow)",
        )
        longest = np.maximum.reduce([self._spans.lengths, *(picker.longest() for picker in pickers)])
        self.lengths = longest[self.usable]

    def __call__(self, number: int, draw: np.random.Generator) -> tuple[Encoded, Encoded]:
        picker = self._pickers[draw.integers(len(self._pickers))]
        return self._spans[number], picker(number, draw)


def with_context(has: np.ndarray, material: Material, what: str, remedy: str) -> np.ndarray:
    """The numbers of the spans of which ``has`` is true; int64.

    Notes how many texts have not ``what``; raises DataError, with the remedy, where none has it.
    """
    spans = material.spans
    if not has.any():
        raise DataError(f"{material.format.place()}: no text has {what}. {remedy}")
    texts = len(np.unique(spans.texts))
    if without := texts - len(np.unique(spans.texts[has])):
        progress.note(f"{without} of {texts} texts have no {what.removeprefix('a ')} and are left out")
    return np.flatnonzero(has)
