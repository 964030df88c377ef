"""Base class of perturbations that choose words of a query at random and make one spelling error in each."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.graphemes import Graphemes, is_word, join_segments, split_words
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_fraction, count_of_fraction


@dataclass(frozen=True)
class Misspelling(QueryPerturbation):
    """Perturbation that chooses words of two or more letters at random and makes one spelling error in each."""

    word_fraction: float = 0.25
    """Fraction of the words that get one error each, above 0 and at most 1. The number of words is rounded up."""

    def __post_init__(self) -> None:
        check_fraction("word_fraction", self.word_fraction)

    def misspell(self, word: Graphemes, rng: KeyedRandom) -> Graphemes | None:
        """Return a word of two letters or more with one error; None if the error is impossible in this word."""
        raise NotImplementedError(type(self).__name__)

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        segments = split_words(text)
        positions = [position for position, segment in enumerate(segments) if is_word(segment)]
        remaining = count_of_fraction(len(positions), self.word_fraction)
        for position in rng.sample(positions, len(positions)):
            changed = self.misspell(segments[position], rng) if remaining and len(segments[position]) > 1 else None
            if changed is not None:
                segments[position], remaining = changed, remaining - 1
        return join_segments(segments)
