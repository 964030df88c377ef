"""Words in another order."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.draw import Draw
from encloze.evaluation.perturbations.base import Perturbation, check_share, part_of


@dataclass(frozen=True)
class WordOrder(Perturbation, name="word_order"):
    """Words change places."""

    words: float = 1.0
    """The share of the words that move, rounded up, and two at least."""

    def __post_init__(self) -> None:
        check_share("words", self.words)

    def perturb(self, text: str, draw: Draw) -> str:
        words = text.split()
        if len(set(words)) < 2:
            return text
        moving = draw.some(range(len(words)), max(2, part_of(len(words), self.words)))
        before = [words[at] for at in sorted(moving)]
        after = [words[at] for at in moving]
        if before == after:
            after = [*after[1:], after[0]]
        for at, word in zip(sorted(moving), after, strict=True):
            words[at] = word
        return " ".join(words)
