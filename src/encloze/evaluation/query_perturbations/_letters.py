"""Words as letters, and one error in some of them: what typing errors have in common."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass

from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_share, part_of

Letters = list[str]
"""Each with the marks that belong to it: vowel signs, niqqud and accents go where their letter goes."""


@dataclass(frozen=True)
class Misspelling(QueryPerturbation):
    """One error in each of some words."""

    word_fraction: float = 0.25
    """The share of the words that get one error each, rounded up: short queries get one, too."""

    def __post_init__(self) -> None:
        check_share("word_fraction", self.word_fraction)

    def misspelt(self, word: Letters, draw: KeyedRandom) -> Letters | None:
        """The word, of two letters or more, with one error; None where it can have none."""
        raise NotImplementedError(type(self).__name__)

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        runs = runs_of(text)
        words = [at for at, run in enumerate(runs) if is_word(run)]
        left = part_of(len(words), self.word_fraction)
        for at in draw.some(words, len(words)):
            changed = self.misspelt(runs[at], draw) if left and len(runs[at]) > 1 else None
            if changed is not None:
                runs[at], left = changed, left - 1
        return joined(runs)


def letters_of(text: str) -> Letters:
    """The text's signs, combining marks with what they stand on."""
    found: Letters = []
    for sign in text:
        if found and unicodedata.category(sign).startswith("M"):
            found[-1] += sign
        else:
            found.append(sign)
    return found


def runs_of(text: str) -> list[Letters]:
    """The text cut into words (runs of letters and digits) and what stands between them."""
    return [list(run) for _, run in itertools.groupby(letters_of(text), key=lambda letter: letter[0].isalnum())]


def is_word(run: Letters) -> bool:
    return run[0][0].isalnum()


def joined(runs: list[Letters]) -> str:
    return "".join(letter for run in runs for letter in run)
