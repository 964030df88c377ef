"""Result of one system: its ranking of documents for each query, and the cost of searching."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Name of the system, as shown in tables."""
    run: Run
    """Ranking: for each query id, the scores of the retrieved documents by document id."""
    milliseconds_per_query: float | None = None
    """Wall-clock time of searching all queries in one batch, query encoding included, divided by the number of queries.
    This is a throughput figure, not the latency of a single query. None if the ranking was read from a file."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of single queries, searched one after the other: ``p50``, ``p95``, ``p99``, and the medians of the
    stages (see ``latencies``). Empty if they were not measured."""
    note: str = ""
    """Remark shown below tables, such as the values of parameters that were tuned."""
    index_bytes: int | None = None
    """Size of the index on disk in bytes, without the texts of the documents."""
    model_bytes: int | None = None
    """Size in bytes of the weights of the models that the system uses."""
    memory_bytes: int | None = None
    """Peak memory in bytes of a separate process that searches. It includes Python, but not memory-mapped files. None
    if it was not measured."""
    values: dict[str, np.ndarray] = field(default_factory=dict)
    """Values of each measure, keyed by its name: one value per query (float64), in the order of ``Report.queries``."""
    corpus: Corpus | None = None
    """Corpus from which the documents were retrieved, if the system has a corpus of its own, such as that of an
    index folder. None if they were retrieved from the corpus of the data set."""

    @property
    def median_latency(self) -> float | None:
        """Median of the milliseconds of single queries; None if they were not measured."""
        return self.latency.get("p50")

    def ranked_corpus(self, dataset: DatasetSplit) -> Corpus:
        """Return the corpus from which documents were retrieved: the data set's corpus if ``self.corpus`` is None."""
        return self.corpus or dataset.corpus
