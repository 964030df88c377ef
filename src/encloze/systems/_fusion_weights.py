"""Tuning of fusion weights (the weight of each index of a system) on a split other than the evaluated one."""

from __future__ import annotations

from encloze.data.dataset import DatasetSplit
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import tune_fusion


def tune_fusion_weights(retriever: Retriever, tuning: DatasetSplit) -> str:
    """Set the fusion weights of a retriever to the weights with the highest nDCG@10 on the split ``tuning``.

    Returns:
        A note for reports, with the weights and the name of the split.
    """
    retriever.fusion = fusion = tune_fusion(retriever, tuning.queries, tuning.judgments)
    names = [view.name for view in retriever.views]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, fusion.weights, strict=True))
    return f"the fusion weights ({weights}) were tuned on {tuning.split}"
