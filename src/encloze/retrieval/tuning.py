"""Tuning of fusion weights on judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from encloze import progress
from encloze.data.records import Judgments, Query
from encloze.errors import RecipeError
from encloze.evaluation.measures import compute_measures
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.weighted import Weighted


def tune_fusion(retriever: Retriever, queries: Sequence[Query], judgments: Judgments) -> Weighted:
    """Return the weighted fusion of two or more indexes that has the highest nDCG@10 on judged queries.

    For two indexes, 19 pairs of weights in steps of 0.05 are tried; for three, 36 triples in steps of 0.1.

    Raises:
        RecipeError: The retriever searches one index only.
    """
    count = len(retriever.views)
    if count < 2:
        message = "weights are tuned for two views or more, and there is one. Leave out tune_on"
        raise RecipeError("the search", [("tune_on", message)])
    pools = retriever.candidates([query.text for query in queries])
    fusions = [Weighted(weights) for weights in _weights(count, 20 if count == 2 else 10)]
    values = [
        compute_measures(retriever.fused_run(queries, pools, fusion, 10), judgments, ["nDCG@10"])["nDCG@10"].mean()
        for fusion in progress.track(fusions, "Tuning the fusion", len(fusions), "weights")
    ]
    return fusions[int(np.argmax(values))]


def _weights(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """Yield all tuples of ``count`` weights above 0 that sum to 1 and are multiples of ``1 / steps``."""
    for cuts in itertools.combinations(range(1, steps), count - 1):
        yield tuple(round((end - begin) / steps, 2) for begin, end in itertools.pairwise([0, *cuts, steps]))
