"""Interface of query expansions by pseudo-relevance feedback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from encloze.family import Family
from encloze.settings import PositiveInt

TermWeights = Mapping[str, float]
"""Terms of a query or document with their weights or counts."""


class FeedbackDocument(NamedTuple):
    """Document that a search with the original query ranks at the top; it is assumed to be relevant."""

    term_counts: TermWeights
    score: float


@dataclass(frozen=True)
class Expansion(Family):
    """Base class of query expansions, which add weighted terms of the top-ranked documents to the query.

    Example:
        >>> from encloze.search.expansions.rm3 import Rm3
        >>> feedback = [FeedbackDocument({"river": 1.0, "sea": 3.0}, score=2.0)]
        >>> Rm3().expand({"river": 1.0}, feedback, df_ratio=lambda term: 0.01)
        {'river': 0.625, 'sea': 0.375}
    """

    feedback_documents: PositiveInt = 10
    """Number of top-ranked documents from which expansion terms are taken."""

    def expand(
        self, query: TermWeights, feedback: Sequence[FeedbackDocument], df_ratio: Callable[[str], float]
    ) -> TermWeights:
        """Return the weighted terms of the expanded query.

        Args:
            query: Counts of the query's terms.
            feedback: The top-ranked documents of a search with the original query, best first.
            df_ratio: Function that returns the fraction of all documents that contain a term, from 0 to 1.

        Returns:
            Weight of each term of the expanded query.
        """
        raise NotImplementedError(type(self).__name__)
