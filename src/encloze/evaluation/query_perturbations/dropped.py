"""A letter that was not typed."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._letters import Letters, Misspelling


@dataclass(frozen=True)
class Dropped(Misspelling, name="dropped"):
    """A letter is left out; words of one letter stay."""

    def misspelt(self, word: Letters, draw: KeyedRandom) -> Letters | None:
        at = draw.below(len(word))
        return [*word[:at], *word[at + 1 :]]
