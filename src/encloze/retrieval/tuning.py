"""Tuning of fusion weights on judged queries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.errors import RecipeError
from encloze.evaluation.measures import compute_measures
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.weighted import Weighted

TUNING_SPLITS = ("dev", "validation")
"""Splits on which fusion weights are tuned by default; the first that the data set has is used."""
_MAX_QUERIES = 1000
_TIE = 1e-6  # differences in nDCG@10 below this are ties
_WEAK = 0.5  # a view with less than this share of the best view's nDCG@10 is reported


def default_tuning_split(dataset: DatasetSplit) -> str | None:
    """Return the split on which fusion weights are tuned by default, other than ``dataset.split``; None for none."""
    available = set() if dataset.judgments_by_source else {*dataset.format.splits()}
    usable = [split for split in TUNING_SPLITS if split in available and split != dataset.split]
    return usable[0] if usable and dataset.split not in TUNING_SPLITS else None


def tune_fusion(retriever: Retriever, tuning: DatasetSplit) -> Weighted:
    """Return the weighted fusion of two or more indexes that has the highest nDCG@10 on judged queries.

    For two indexes, 21 pairs of weights in steps of 0.05 are tried, for more indexes all weights in steps of 0.1. Of
    equally good weights, the most even ones are returned. At most 1,000 queries are used, selected by a hash of their
    ids. Warns of an index that is much worse than the best one.

    Raises:
        RecipeError: The retriever searches one index only.
    """
    names = [view.name for view in retriever.views]
    if len(names) < 2:
        message = "weights are tuned for two views or more, and there is one. Leave out tune_on"
        raise RecipeError("the search", [("tune_on", message)])
    queries = sorted(tuning.queries, key=lambda query: hash_to_unit_interval(query.id))[:_MAX_QUERIES]
    judgments = {query.id: tuning.judgments[query.id] for query in queries}
    pools = retriever.candidates([query.text for query in queries])

    def quality(weights: tuple[float, ...]) -> float:
        run = retriever.fused_run(queries, pools, Weighted(weights), 10)
        return float(compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"].mean())

    grid = list(_weights(len(names), 20 if len(names) == 2 else 10))
    title = f"Tuning the fusion on {tuning.split}"
    values = {weights: quality(weights) for weights in progress.track(grid, title, len(grid), "weights")}
    _warn_of_weak_views({names[weights.index(1)]: value for weights, value in values.items() if 1 in weights}, tuning)
    best = max(values.values())
    return Weighted(min((weights for weights in grid if values[weights] > best - _TIE), key=max))


def _warn_of_weak_views(values: Mapping[str, float], tuning: DatasetSplit) -> None:
    """Warn of each view that is much worse than the best one. ``values`` are the nDCG@10 of each view alone."""
    best = max(values, key=values.__getitem__)
    for name, value in values.items():
        if value < _WEAK * values[best]:
            progress.warn(
                f"on the split {tuning.split}, {name} alone has nDCG@10 {value:.4f}, and {best} alone "
                f"{values[best]:.4f}. Consider to search without {name}"
            )


def _weights(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """Yield all tuples of ``count`` weights from 0 to 1 that sum to 1 and are multiples of ``1 / steps``."""
    for cuts in itertools.combinations_with_replacement(range(steps + 1), count - 1):
        yield tuple(round((end - begin) / steps, 2) for begin, end in itertools.pairwise([0, *cuts, steps]))
