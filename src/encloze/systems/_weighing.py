"""What systems of several views share: weights chosen on another split."""

from __future__ import annotations

from encloze.data.dataset import DatasetSplit
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import tune_fusion


def weighed(searcher: Retriever, tuning: DatasetSplit) -> str:
    """Give a searcher the weights that do best on a split, and say which."""
    searcher.fusion = fusion = tune_fusion(searcher, tuning.queries, tuning.judgments)
    names = [view.name for view in searcher.views]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, fusion.weights, strict=True))
    return f"its weights ({weights}) were chosen on {tuning.split}"
