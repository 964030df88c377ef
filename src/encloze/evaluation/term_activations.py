"""Which words of a vocabulary texts give a weight to: dead ones, those that are always on, and how many a text has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

ALWAYS = 0.95


@dataclass(frozen=True)
class TermActivations:
    """Counts over texts whose term weights are above 0 for some words (SPLADE: Formal et al., SIGIR 2021)."""

    texts: np.ndarray
    """int64, vocabulary: how many texts give each word a weight."""
    active: np.ndarray
    """int64, texts: how many words each text gives a weight to."""

    @classmethod
    def of_nothing(cls, vocabulary: int) -> Self:
        return cls(np.zeros(vocabulary, np.int64), np.zeros(0, np.int64))

    def with_texts(self, of_words: np.ndarray, of_texts: np.ndarray) -> TermActivations:
        """These counts, and those of further texts."""
        return TermActivations(self.texts + of_words, np.concatenate([self.active, of_texts]))

    @property
    def dead(self) -> float:
        """The share of the vocabulary that no text gives a weight to."""
        return float(np.mean(self.texts == 0))

    @property
    def always(self) -> int:
        """How many words have a weight in 95 % of the texts or more: they tell no text from another."""
        return int((self.texts >= max(1, ALWAYS * len(self.active))).sum())

    def unheard(self, held: np.ndarray) -> float:
        """Of the words that texts hold (bool, vocabulary) the share that no text gives a weight to."""
        return float(np.mean(self.texts[held] == 0)) if held.any() else 0.0
