"""Checks of the arguments of retrievers."""

from __future__ import annotations

from typing import Any

import numpy as np

from encloze.data.dataset import DatasetSplit
from encloze.errors import RecipeError
from encloze.search.fusions.base import Fusion


def check_fusion(fusion: Fusion, views: int) -> None:
    """Raise RecipeError if the number of fusion weights differs from the number of searched indexes."""
    try:
        fusion.check(views)
    except ValueError as error:
        raise RecipeError("the search", [("fusion", str(error))]) from error


def check_count(value: Any, name: str) -> None:
    """Raise RecipeError if the value of the argument ``name`` is not a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise RecipeError("search", [(name, f"expected a whole number of 1 or more, found {value!r}")])


def check_search(k: Any, depth: Any, passage_aggregation: Any, diversity: Any) -> None:
    """Raise RecipeError if an argument of a search is invalid."""
    check_count(k, "k")
    check_count(depth, "depth")
    check_weight(diversity, "diversity")
    if passage_aggregation not in ("none", "max", "sum"):
        message = f"expected none, max, sum, found {passage_aggregation!r}"
        raise RecipeError("search", [("passage_aggregation", message)])


def check_weight(value: Any, name: str) -> None:
    """Raise RecipeError if the value of the argument ``name`` is not a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise RecipeError("search", [(name, f"expected a number from 0 to 1, found {value!r}")])


def check_reranking(reranker: Any, depth: Any, weight: Any) -> None:
    """Raise RecipeError if a re-ranker, the number of documents that it scores or its weight is invalid."""
    check_count(depth, "rerank_depth")
    check_weight(weight, "rerank_weight")
    is_reranker = hasattr(reranker, "score") and hasattr(reranker, "calibration")
    if reranker is not None and (isinstance(reranker, type) or not is_reranker):
        message = f"expected a cross-encoder or the name of one, found {type(reranker).__name__}"
        raise RecipeError("the search", [("reranker", message)])


def check_fusion_choice(fusion: Fusion | None, tune_on: Any, views: int, source: str) -> None:
    """Raise RecipeError if ``fusion`` does not fit the number of views, or if weights cannot be tuned on ``tune_on``.

    Args:
        fusion: The fusion that the user has set; None if it is chosen automatically.
        tune_on: The split on which fusion weights are tuned; None if the user has set none.
        views: Number of views.
        source: Name of the caller, for the error message.
    """
    if fusion:
        check_fusion(fusion, views)
    if tune_on is None:
        return
    if not isinstance(tune_on, DatasetSplit):
        message = f'expected a split with judged queries, such as data.split("dev"), found {tune_on!r}'
        raise RecipeError(source, [("tune_on", message)])
    if fusion or views < 2:
        message = "tune_on tunes fusion weights, so it needs no fusion and two indexes or more. Otherwise, leave it out"
        raise RecipeError(source, [("tune_on", message)])
