"""What of a run counts, where a benchmark has a rule of its own."""

from __future__ import annotations

from encloze.data.corpus import Corpus
from encloze.data.records import Run


def without_own_ids(run: Run) -> Run:
    """A run without documents that bear their query's id, as BEIR's evaluation has it by default.

    It is meant for queries that are documents of the collection themselves (ArguAna, Quora).
    """
    return {
        query: {document: score for document, score in scores.items() if document != query}
        for query, scores in run.items()
    }


def of_sources(run: Run, corpus: Corpus) -> Run:
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
