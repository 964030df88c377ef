"""The wrong key: a letter becomes one whose key touches its own."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._keyboards import Layout, layout_of, neighbours
from encloze.evaluation.query_perturbations._letters import Letters, Misspelling


@dataclass(frozen=True)
class Typos(Misspelling, name="typos"):
    """A letter that was meant becomes its neighbour on the keyboard."""

    layout: Layout | None = None
    """The keyboard; by default for each word the one that has its letters, qwerty for plain Latin ones."""

    def misspelt(self, word: Letters, draw: KeyedRandom) -> Letters | None:
        near = neighbours(self.layout or layout_of("".join(letter[0] for letter in word)))
        there = [at for at, letter in enumerate(word) if letter[0].lower() in near]
        if not there:
            return None
        at = draw.one(there)
        meant = word[at][0]
        typed = draw.one(near[meant.lower()])
        return [*word[:at], (typed.upper() if meant.isupper() else typed) + word[at][1:], *word[at + 1 :]]
