"""Typing errors: a letter of a word is replaced by a letter on an adjacent key of the keyboard."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.graphemes import Graphemes
from encloze.evaluation.keyboards import Layout, adjacent_letters, detect_layout
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._misspelling import Misspelling


@dataclass(frozen=True)
class Typos(Misspelling, name="typos"):
    """Choose words of the query at random, and replace one letter of each by a letter on an adjacent key.

    Words of a single letter are never chosen.

    Example:
        >>> from encloze.data.records import Query
        >>> Typos(word_fraction=1.0).perturb_query(Query("q1", "river"), seed=0)
        'rifer'
    """

    layout: Layout | None = None
    """Keyboard layout, which defines the adjacent keys. By default, each word gets the layout that contains most of its
    letters (qwerty for words in ASCII)."""

    def misspell(self, word: Graphemes, rng: KeyedRandom) -> Graphemes | None:
        adjacent = adjacent_letters(self.layout or detect_layout("".join(grapheme[0] for grapheme in word)))
        positions = [position for position, grapheme in enumerate(word) if grapheme[0].lower() in adjacent]
        if not positions:
            return None
        position = rng.choice(positions)
        letter = word[position][0]
        typed = rng.choice(adjacent[letter.lower()])
        grapheme = (typed.upper() if letter.isupper() else typed) + word[position][1:]
        return [*word[:position], grapheme, *word[position + 1 :]]
