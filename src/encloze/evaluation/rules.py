"""Rules that convert a ranking before it is evaluated, such as truncating it or aggregating scores of passages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from encloze.data.corpus import Corpus
from encloze.data.records import Run
from encloze.data.runs import top_documents

PassageAggregation = Literal["none", "max"]
"""``none``: judgments refer to documents of the corpus. ``max``: they refer to source texts; the score of a source is
that of its best passage."""

_PASSAGES_PER_SOURCE = 10  # passages retrieved for each source to be ranked


class RankingRules(NamedTuple):
    """Rules that convert the ranking of a system (a TREC run) to the ranking that is evaluated.

    Example:
        >>> rules = RankingRules(depth=2, ignore_identical_ids=True)
        >>> rules.search_depth
        3
        >>> rules.apply({"a": {"a": 3.0, "b": 2.0, "c": 1.0}}, corpus=None)
        {'a': {'b': 2.0, 'c': 1.0}}
    """

    depth: int
    """Number of documents (or source texts, if passages are aggregated) to keep per query, 1 or more."""
    passage_aggregation: PassageAggregation = "none"
    """``none``: judgments refer to documents of the corpus. ``max``: judgments refer to longer source texts, and the
    score of a source text is the maximum score of its passages."""
    ignore_identical_ids: bool = False
    """Whether a document whose id equals the id of the query is removed from the ranking of this query."""
    max_cutoff: int = 0
    """Largest cutoff of the measures; this number of documents per query is kept if ``depth`` is lower."""

    @property
    def search_depth(self) -> int:
        """Number of documents to retrieve per query so that enough of them remain after the rules are applied."""
        passages = _PASSAGES_PER_SOURCE if self.passage_aggregation == "max" else 1
        return self._run_depth * passages + self.ignore_identical_ids

    @property
    def _run_depth(self) -> int:
        return max(self.depth, self.max_cutoff)

    def check(self, *, is_tuned: bool) -> None:
        """Check that the depth is valid, and that rules that tuning ignores are not combined with a tuned system.

        Args:
            is_tuned: Whether a system is tuned. ``passage_aggregation`` and ``ignore_identical_ids`` must then have
                their default values.

        Raises:
            ValueError: ``depth`` is below 1, or a system is tuned and one of the two settings is not the default.
        """
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.passage_aggregation == "max" and is_tuned:
            raise ValueError(
                "tune_on cannot be combined with passage_aggregation: tuning needs judgments of documents, but these "
                "judgments refer to source texts. Remove one of the two settings"
            )
        if self.ignore_identical_ids and is_tuned:
            raise ValueError(
                "tune_on cannot be combined with ignore_identical_ids: tuning does not remove documents with the id of "
                "their query. Remove one of the two settings"
            )

    def apply(self, run: Run, corpus: Callable[[], Corpus]) -> Run:
        """Apply the rules to a run, and return the run to be evaluated.

        Args:
            run: Scores by query and document.
            corpus: Function that opens the corpus of the ranked documents; called only if passages are aggregated.

        Returns:
            Scores by query and document (or source text), best first, with at most ``max(depth, max_cutoff)`` per
            query.
        """
        if self.passage_aggregation == "max":
            run = max_passage_run(run, corpus())
        if self.ignore_identical_ids:
            run = without_identical_ids(run)
        return {query: top_documents(scores, self._run_depth) for query, scores in run.items()}


def without_identical_ids(run: Run) -> Run:
    """Return a run without the documents whose id equals the id of the query.

    BEIR's evaluation does this by default (``ignore_identical_ids``). It is meant for data sets whose queries are
    documents of the collection, such as ArguAna and Quora.

    Example:
        >>> without_identical_ids({"a": {"a": 3.0, "b": 2.0}})
        {'a': {'b': 2.0}}
    """
    return {
        query: {document: score for document, score in scores.items() if document != query}
        for query, scores in run.items()
    }


def max_passage_run(run: Run, corpus: Corpus) -> Run:
    """Aggregate scores of passages to scores of their source texts by maximum (MaxP: Dai and Callan, SIGIR 2019).

    Args:
        run: Scores by query and passage.
        corpus: Corpus with the source of each passage.

    Returns:
        Scores by query and source text. A passage keeps its own id if it has no source or is not in the corpus.
    """
    sources, number_of = corpus.column("source"), corpus.number_of
    aggregated: Run = {}
    for query, scores in run.items():
        source_scores = aggregated.setdefault(query, {})
        for document, score in scores.items():
            number = number_of.get(document)
            source = document if number is None else sources[number].as_py() or document
            source_scores[source] = max(score, source_scores.get(source, score))
    return aggregated
