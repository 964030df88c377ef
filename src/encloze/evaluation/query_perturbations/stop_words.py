"""A query in keywords: the words that only hold a sentence together are left out."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from encloze.data.letters import without_points
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._function_words import FUNCTION_WORDS, Language
from encloze.evaluation.query_perturbations._letters import is_word, joined, runs_of
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_share, part_of


@dataclass(frozen=True)
class StopWords(QueryPerturbation, name="stop_words"):
    """Function words are dropped; a query of nothing else stays."""

    language: Language | None = None
    """Whose words; by default for each query the language that most of them are of, if a quarter is of one."""
    custom_stop_words: tuple[str, ...] = ()
    """One's own words, instead of those of a language."""
    word_fraction: float = 1.0
    """The share of the stop words that is dropped, rounded up."""

    def __post_init__(self) -> None:
        check_share("word_fraction", self.word_fraction)

    def perturb(self, text: str, draw: KeyedRandom) -> str:
        runs = runs_of(text)
        words = [_plain("".join(run)) for run in runs]
        asked = [word for word, run in zip(words, runs, strict=True) if is_word(run)]
        known = set(map(_plain, self.custom_stop_words)) or _function_words(self.language or _language(asked))
        stopped = [at for at, word in enumerate(words) if word in known and _alone(runs, at)]
        content = any(is_word(run) and word not in known for run, word in zip(runs, words, strict=True))
        if not stopped or not content:
            return text
        gone = set(draw.some(stopped, part_of(len(stopped), self.word_fraction)))
        return " ".join(joined([run for at, run in enumerate(runs) if at not in gone]).split())


def _alone(runs: list[list[str]], at: int) -> bool:
    """Whether blanks are around a word: the s of river's and the to of up-to-date are no words of their own."""
    before, after = (at < 2 or _blank(runs[at - 1])), (at + 2 >= len(runs) or _blank(runs[at + 1]))
    return before and after


def _blank(run: list[str]) -> bool:
    return any(letter.isspace() for letter in run)


def _plain(word: str) -> str:
    """As the lists have it: small letters, composed, without niqqud."""
    return without_points(unicodedata.normalize("NFC", word.lower()))


def _function_words(language: Language | None) -> set[str] | frozenset[str]:
    return FUNCTION_WORDS[language] if language else frozenset()


def _language(words: list[str]) -> Language | None:
    """The language that most of the words are function words of; None where that is less than a quarter of them.

    Words of other languages are spelled like function words, now and then: Turkish son and ne are in the French list.
    """
    counts = {language: sum(word in FUNCTION_WORDS[language] for word in words) for language in FUNCTION_WORDS}
    best = max(counts, key=counts.__getitem__)
    return best if 4 * counts[best] >= len(words) > 0 and counts[best] else None
