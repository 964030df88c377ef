"""Words in another order."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_share, part_of


@dataclass(frozen=True)
class WordOrder(QueryPerturbation, name="word_order"):
    """Words change places."""

    word_fraction: float = 1.0
    """The share of the words that move, rounded up, and two at least."""

    def __post_init__(self) -> None:
        check_share("word_fraction", self.word_fraction)

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        words = text.split()
        if len(set(words)) < 2:
            return text
        moving = draw.some(range(len(words)), max(2, part_of(len(words), self.word_fraction)))
        before = [words[at] for at in sorted(moving)]
        after = [words[at] for at in moving]
        if before == after:
            after = [*after[1:], after[0]]
        for at, word in zip(sorted(moving), after, strict=True):
            words[at] = word
        return " ".join(words)
