"""Typing errors: two adjacent letters of a word are swapped."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.graphemes import Graphemes
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._misspelling import Misspelling


@dataclass(frozen=True)
class Transposed(Misspelling, name="transposed"):
    """Choose words of the query at random, and swap two adjacent, different letters in each of them."""

    def misspell(self, word: Graphemes, rng: KeyedRandom) -> Graphemes | None:
        positions = [position for position in range(len(word) - 1) if word[position] != word[position + 1]]
        if not positions:
            return None
        position = rng.choice(positions)
        return [*word[:position], word[position + 1], word[position], *word[position + 2 :]]
