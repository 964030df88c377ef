"""An expansion: words of a query and of its first hits to weighted words, which are searched for in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from encloze.family import Family

Words = Mapping[str, float]
"""Words with how often they stand in a text, or what they weigh."""


class Feedback(NamedTuple):
    """A document that a query finds, taken for relevant."""

    words: Words
    score: float


@dataclass(frozen=True)
class Expansion(Family):
    """Words to weighted words."""

    documents: int = 10
    """How many of the first hits are read."""

    def expand(self, query: Words, found: Sequence[Feedback], share: Callable[[str], float]) -> Words:
        """The words to search for; ``share`` says in which share of all documents a word stands."""
        raise NotImplementedError(type(self).__name__)
