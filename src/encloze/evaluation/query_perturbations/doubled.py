"""A letter that was typed twice."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._letters import Letters, Misspelling


@dataclass(frozen=True)
class Doubled(Misspelling, name="doubled"):
    """A letter stands there twice; words of one letter stay."""

    def misspelt(self, word: Letters, draw: KeyedRandom) -> Letters | None:
        at = draw.below(len(word))
        return [*word[: at + 1], *word[at:]]
