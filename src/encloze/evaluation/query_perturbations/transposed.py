"""Two letters in the wrong order."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._letters import Letters, Misspelling


@dataclass(frozen=True)
class Transposed(Misspelling, name="transposed"):
    """Two letters beside each other, which differ, change places."""

    def misspelt(self, word: Letters, draw: KeyedRandom) -> Letters | None:
        there = [at for at in range(len(word) - 1) if word[at] != word[at + 1]]
        if not there:
            return None
        at = draw.one(there)
        return [*word[:at], word[at + 1], word[at], *word[at + 2 :]]
