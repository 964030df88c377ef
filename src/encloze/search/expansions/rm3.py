"""RM3 (Abdul-Jaleel et al., TREC 2004): the query is interpolated with a relevance model of the top documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from encloze.search.expansions.base import Expansion, FeedbackDocument, TermWeights
from encloze.settings import PositiveInt, Ratio

_MIN_LENGTH, _MAX_LENGTH, _MAX_DF_RATIO = 2, 20, 0.1


@dataclass(frozen=True)
class Rm3(Expansion, name="rm3"):
    """RM3 as in Anserini's ``Rm3Reranker``: terms of each document are weighted by frequency times document score.

    Terms of one letter or of more than 20 letters are ignored, and so are terms that occur in more than 10 % of all
    documents. Unlike in Anserini, terms with characters other than a to z are used; otherwise, most languages would
    have no terms.
    """

    feedback_terms: PositiveInt = 10
    """Number of terms that are taken from each feedback document, and maximum number of terms added to the query."""
    original_query_weight: Ratio = 0.5
    """Total weight of the original query's terms, from 0 to 1. That of the expansion terms is 1 minus this."""

    def expand(
        self, query: TermWeights, feedback: Sequence[FeedbackDocument], df_ratio: Callable[[str], float]
    ) -> TermWeights:
        """Return the weighted terms of the expanded query (see ``Expansion.expand``)."""
        relevance_model = dict[str, float]()
        for counts, score in feedback:
            usable = {
                term: count
                for term, count in counts.items()
                if _MIN_LENGTH <= len(term) <= _MAX_LENGTH and df_ratio(term) <= _MAX_DF_RATIO
            }
            for term, probability in _normalize(_top_terms(usable, self.feedback_terms)).items():
                relevance_model[term] = relevance_model.get(term, 0.0) + probability * score
        if not relevance_model:  # no hit, or only frequent terms
            return query
        expanded = {term: self.original_query_weight * weight for term, weight in _normalize(query).items()}
        for term, probability in _normalize(_top_terms(relevance_model, self.feedback_terms)).items():
            expanded[term] = expanded.get(term, 0.0) + (1 - self.original_query_weight) * probability
        return expanded


def _top_terms(weights: TermWeights, count: int) -> TermWeights:
    """Return the ``count`` terms with the highest weights; terms with equal weights are in alphabetical order."""
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:count])


def _normalize(weights: TermWeights) -> TermWeights:
    """Return the weights divided by their sum."""
    total = sum(weights.values())
    return {term: weight / total for term, weight in weights.items()}
