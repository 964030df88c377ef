"""RM3 (Abdul-Jaleel et al., TREC 2004): the query's words mixed with those of a relevance model of its first hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from encloze.search.expansions.base import Expansion, Feedback, Words

_LONGEST, _COMMON = 20, 0.1


@dataclass(frozen=True)
class Rm3(Expansion, name="rm3"):
    """As in Anserini (Rm3Reranker): each document gives its most frequent words, weighted by its score.

    Words of one letter or of more than 20 and those in more than a tenth of all documents are not taken. Anserini also
    takes none with letters beyond a to z, which would leave most languages without any; that is not done here.
    """

    terms: int = 10
    """How many words a document gives, and how many are taken over into the query."""
    original: float = 0.5
    """What the query's own words weigh, from 0 to 1."""

    def __post_init__(self) -> None:
        if self.documents < 1 or self.terms < 1 or not 0 <= self.original <= 1:
            raise ValueError(
                f"documents and terms must be 1 or more and original from 0 to 1, not {self.documents}, {self.terms} "
                f"and {self.original}"
            )

    def expand(self, query: Words, found: Sequence[Feedback], share: Callable[[str], float]) -> Words:
        model = dict[str, float]()
        for words, score in found:
            kept = {w: n for w, n in words.items() if 2 <= len(w) <= _LONGEST and share(w) <= _COMMON}
            for word, part in _normal(_first(kept, self.terms)).items():
                model[word] = model.get(word, 0.0) + part * score
        mixed = {word: self.original * part for word, part in _normal(query).items()}
        if not model:  # nothing was found, or only words that everybody has
            return query
        for word, part in _normal(_first(model, self.terms)).items():
            mixed[word] = mixed.get(word, 0.0) + (1 - self.original) * part
        return mixed


def _first(words: Words, count: int) -> Words:
    """The heaviest words; equal ones in the order of the alphabet."""
    return dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:count])


def _normal(words: Words) -> Words:
    total = sum(words.values())
    return {word: weight / total for word, weight in words.items()}
