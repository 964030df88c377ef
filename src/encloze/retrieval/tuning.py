"""Weights of a fusion, chosen on judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from encloze import progress
from encloze.data.records import Judgments, Query
from encloze.errors import RecipeError
from encloze.evaluation.measures import measure
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.weighted import Weighted


def tune_fusion(searcher: Retriever, queries: Sequence[Query], judgments: Judgments) -> Weighted:
    """The weighted fusion of two views or more with the highest nDCG@10 on judged queries.

    Of two views 19 weights are tried, in steps of 0.05; of three 36, in steps of 0.1.
    """
    count = len(searcher.views)
    if count < 2:
        raise RecipeError("the search", [("tune_on", "weights are chosen for two views or more, and there is one")])
    gathered = searcher.gather([query.text for query in queries])
    fusions = [Weighted(weights) for weights in _weights(count, 20 if count == 2 else 10)]
    values = [
        measure(searcher.fused(queries, gathered, fusion, 10), judgments, ["nDCG@10"])["nDCG@10"].mean()
        for fusion in progress.track(fusions, "Tuning the fusion", len(fusions), "weights")
    ]
    return fusions[int(np.argmax(values))]


def _weights(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """All ways to give ``count`` views weights above 0 whose sum is 1, in so many steps."""
    for cuts in itertools.combinations(range(1, steps), count - 1):
        yield tuple(round((end - begin) / steps, 2) for begin, end in itertools.pairwise([0, *cuts, steps]))
