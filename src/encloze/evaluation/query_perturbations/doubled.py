"""Typing error: a letter is typed twice."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.graphemes import Graphemes
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._misspelling import Misspelling


@dataclass(frozen=True)
class Doubled(Misspelling, name="doubled"):
    """Choose words of two or more letters at random, and repeat one letter in each."""

    def misspell(self, word: Graphemes, rng: KeyedRandom) -> Graphemes | None:
        position = rng.randbelow(len(word))
        return [*word[: position + 1], *word[position:]]
