"""Removal of stop words, which turns a question into keywords."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from encloze.data.letters import strip_vowel_points
from encloze.evaluation.graphemes import Graphemes, is_word, join_segments, split_words
from encloze.evaluation.keyed_random import KeyedRandom
from encloze.evaluation.query_perturbations._function_words import FUNCTION_WORDS, Language
from encloze.evaluation.query_perturbations.base import QueryPerturbation, check_fraction, count_of_fraction


@dataclass(frozen=True)
class StopWords(QueryPerturbation, name="stop_words"):
    """Remove stop words. A query that consists only of stop words is not changed.

    Example:
        >>> from encloze.data.records import Query
        >>> StopWords().perturb_query(Query("q1", "where are the rivers of the north"), seed=0)
        'rivers north'
    """

    language: Language | None = None
    """Language of the stop words. By default, it is detected for each query: the language whose stop words are most
    frequent in the query. No word is removed if less than a quarter of the query's words are its stop words."""
    custom_stop_words: tuple[str, ...] = ()
    """Stop words that replace the built-in lists of all languages."""
    word_fraction: float = 1.0
    """Fraction of the stop words that are removed, above 0 and at most 1. The number of removed words is rounded up."""

    def __post_init__(self) -> None:
        check_fraction("word_fraction", self.word_fraction)

    def perturb(self, text: str, rng: KeyedRandom) -> str:
        segments = split_words(text)
        words = [_normalize("".join(segment)) for segment in segments]
        query_words = [word for word, segment in zip(words, segments, strict=True) if is_word(segment)]
        stop_words = set(map(_normalize, self.custom_stop_words)) or _function_words(
            self.language or _detect_language(query_words)
        )
        candidates = [
            position for position, word in enumerate(words) if word in stop_words and _is_isolated(segments, position)
        ]
        has_content = any(word not in stop_words for word in query_words)
        if not candidates or not has_content:
            return text
        removed = set(rng.sample(candidates, count_of_fraction(len(candidates), self.word_fraction)))
        remaining = [segment for position, segment in enumerate(segments) if position not in removed]
        return " ".join(join_segments(remaining).split())


def _is_isolated(segments: list[Graphemes], position: int) -> bool:
    """Return whether a word has a blank, or the end of the text, on both sides.

    The result is False for the "s" in "river's" and the "to" in "up-to-date", for example.
    """
    before = position < 2 or _has_blank(segments[position - 1])
    after = position + 2 >= len(segments) or _has_blank(segments[position + 1])
    return before and after


def _has_blank(segment: Graphemes) -> bool:
    return any(grapheme.isspace() for grapheme in segment)


def _normalize(word: str) -> str:
    """Return a word in the spelling of the stop word lists: lower case, Unicode NFC, without vowel points."""
    return strip_vowel_points(unicodedata.normalize("NFC", word.lower()))


def _function_words(language: Language | None) -> set[str] | frozenset[str]:
    return FUNCTION_WORDS[language] if language else frozenset()


def _detect_language(words: list[str]) -> Language | None:
    """Return the language with the most function words in ``words``; None if less than a quarter are function words.

    The threshold is needed because words of unsupported languages may be spelled like function words:
    Turkish "son" and "ne" are in the French list.
    """
    counts = {language: sum(word in FUNCTION_WORDS[language] for word in words) for language in FUNCTION_WORDS}
    best = max(counts, key=counts.__getitem__)
    return best if 4 * counts[best] >= len(words) > 0 and counts[best] else None
