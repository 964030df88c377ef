"""Typing error: a letter is missing."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.graphemes import Graphemes
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._misspelling import Misspelling


@dataclass(frozen=True)
class Dropped(Misspelling, name="dropped"):
    """Choose words of two or more letters at random, and delete one letter in each."""

    def misspell(self, word: Graphemes, rng: KeyedRandom) -> Graphemes | None:
        position = rng.randbelow(len(word))
        return [*word[:position], *word[position + 1 :]]
