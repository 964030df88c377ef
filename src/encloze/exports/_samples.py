"""Texts with which exports are compared: special cases, and samples of data sets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.errors import DataError
from encloze.retrieval.tuning_queries import queries_with_documents

_QUERIES, _FEWEST_QUERIES, _DOCUMENTS, _SEED = 300, 20, 2000, 0
TEXTS = (
    "",
    " ",
    "a",
    "Where do rivers end?",
    "The report describes how water moves through the catchment, from snow in winter to floods in spring.",
    "איפה נגמרים הנהרות? הם זורמים לים.",
    "أين تنتهي الأنهار؟",
    "川はどこで終わりますか。",
    "Naïve café, 3.14 €, x² + y² = z², https://example.org/a?b=c#d 🙂",
    "one\ntwo\t three  ",
    "[CLS] special [SEP] tokens [PAD] <s> </s> [MASK]",
)
"""Texts that cover special cases: empty, short, in several scripts, with special tokens."""
LONG = ("rivers flow into the sea and freeze in winter near the northern coast " * 60, "riversflowintothesea" * 600)
"""Texts that are longer than usual length limits."""


class Sample(NamedTuple):
    """Queries of a data set, and documents that include their relevant ones."""

    queries: list[Any]
    judgments: dict[str, dict[str, int]]
    corpus: Any
    numbers: np.ndarray


def sample_of(dataset: DatasetSplit) -> Sample:
    """Return queries of a data set, and documents. Raises DataError if there are fewer than 20 such queries."""
    judged = queries_with_documents(dataset)
    if len(judged.queries) < _FEWEST_QUERIES:
        raise DataError(
            f"{dataset.format.location()}: {len(judged.queries)} queries of the split {dataset.split!r} have relevant "
            f"documents. At least {_FEWEST_QUERIES} are needed to compare nDCG@10; a few hundred are better"
        )
    queries = sample_queries(judged.queries, _QUERIES)
    known = dataset.corpus.number_of
    judgments = {query.id: dict(judged.judgments[query.id]) for query in queries}
    relevant = {known[id_] for grades in judgments.values() for id_ in grades if id_ in known}
    drawn = np.random.default_rng(_SEED).permutation(len(dataset.corpus))[:_DOCUMENTS]
    return Sample(queries, judgments, dataset.corpus, np.unique([*relevant, *drawn.tolist()]).astype(np.int64))
