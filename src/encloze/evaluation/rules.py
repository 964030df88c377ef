"""What of a run counts, where a benchmark has a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from encloze.data.corpus import Corpus
from encloze.data.records import Run
from encloze.data.runs import best

_PASSAGES = 10  # searched for each source that is listed


class RankingRules(NamedTuple):
    """What of a ranking counts."""

    depth: int
    """How many documents, or sources, for a query."""
    max_passage: bool = False
    """Whether judgments name the longer texts that documents were cut from."""
    ignore_identical_ids: bool = False
    """Whether a document that bears the query's own id counts."""
    max_cutoff: int = 0
    """How deep the measures look, where that is more."""

    @property
    def search_depth(self) -> int:
        """How many documents are searched for, so that the rules leave enough."""
        return self._listed * (_PASSAGES if self.max_passage else 1) + (self.ignore_identical_ids)

    @property
    def _listed(self) -> int:
        return max(self.depth, self.max_cutoff)

    def check(self, *, tuned: bool) -> None:
        """Raise ValueError where systems are ``tuned``, which is by other rules."""
        if self.depth < 1:
            raise ValueError(f"depth must be 1 or more, not {self.depth}")
        if self.max_passage and tuned:
            raise ValueError("tune_on: a system is tuned by judgments of documents, and judged says they name sources")
        if self.ignore_identical_ids and tuned:
            raise ValueError(
                "tune_on: a system is tuned with documents of the queries' own ids, and own_ids skips them"
            )

    def apply(self, run: Run, corpus: Callable[[], Corpus]) -> Run:
        """A run as it is judged; ``corpus`` opens the documents that it ranks, where they must be read."""
        if self.max_passage:
            run = max_passage_run(run, corpus())
        if self.ignore_identical_ids:
            run = without_identical_ids(run)
        return {query: best(scores, self._listed) for query, scores in run.items()}


def without_identical_ids(run: Run) -> Run:
    """A run without documents that bear their query's id, as BEIR's evaluation has it by default.

    It is meant for queries that are documents of the collection themselves (ArguAna, Quora).
    """
    return {
        query: {document: score for document, score in scores.items() if document != query}
        for query, scores in run.items()
    }


def max_passage_run(run: Run, corpus: Corpus) -> Run:
    """A run of the longer texts that documents were cut from: each has the score of its best passage (MaxP).

    A document without a source, or that the corpus lacks, stands for itself.
    """
    sources, number_of = corpus.column("source"), corpus.number_of
    found: Run = {}
    for query, scores in run.items():
        of_query = found.setdefault(query, {})
        for document, score in scores.items():
            number = number_of.get(document)
            source = document if number is None else sources[number].as_py() or document
            of_query[source] = max(score, of_query.get(source, score))
    return found
