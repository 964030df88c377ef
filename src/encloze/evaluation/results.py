"""The result of ranking documents with one system."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Run

SIZES = ("index_bytes", "model_bytes", "memory_bytes")
"""Fields of ``SystemResult`` that hold sizes in bytes."""


@dataclass(frozen=True)
class SystemResult:
    """Ranking of one system on the queries of one split, with its cost and, once evaluated, its measures.

    ``System.rank`` returns it without measures. ``evaluate_runs`` adds them.

    Example:
        >>> SystemResult("bm25", {"q1": {"d1": 12.5}}, milliseconds_per_query=0.4).note
        ''
    """

    name: str
    """Title of the system in tables."""
    run: Run
    """For each query id the scores of the ranked documents by document id."""
    milliseconds_per_query: float | None = None
    """Wall-clock time of searching all queries in one batch, query encoding included, divided by the number of queries.
    This is a throughput figure, not the latency of a single query. None if the ranking was read from a file."""
    note: str = ""
    """Remark shown below tables, such as tuned parameters."""
    index_bytes: int | None = None
    """Size of the index on disk, without the texts of the documents."""
    model_bytes: int | None = None
    """Size of the weights of the models."""
    memory_bytes: int | None = None
    """Peak memory of a separate process that searches, Python included and memory-mapped files excluded. None if it was
    not measured."""
    values: dict[str, np.ndarray] = field(default_factory=dict)
    """Value of each query by measure: float64, in the order of the queries of the report."""
    corpus: Corpus | None = None
    """Corpus that was ranked, if it differs from that of the data set (an index folder contains its own documents)."""

    def ranked_corpus(self, dataset: DatasetSplit) -> Corpus:
        """Return the documents that the system ranked for this data set."""
        return self.corpus or dataset.corpus
