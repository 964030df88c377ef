"""Random permutation of the words of a query."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_fraction, count_of_fraction


@dataclass(frozen=True)
class WordOrder(QueryPerturbation, name="word_order"):
    """Randomly permute all or some of the words of a query."""

    word_fraction: float = 1.0
    """Fraction of the words of a query that are permuted, above 0 and at most 1. The number of permuted words is
    rounded up; it is at least 2."""

    def __post_init__(self) -> None:
        check_fraction("word_fraction", self.word_fraction)

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        words = text.split()
        if len(set(words)) < 2:
            return text
        positions = rng.sample(range(len(words)), max(2, count_of_fraction(len(words), self.word_fraction)))
        before = [words[position] for position in sorted(positions)]
        after = [words[position] for position in positions]
        if before == after:
            after = [*after[1:], after[0]]
        for position, word in zip(sorted(positions), after, strict=True):
            words[position] = word
        return " ".join(words)
