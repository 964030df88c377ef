"""Effect of fine-tuning: nDCG@10 of the initial and the fine-tuned model on queries that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from encloze import progress
from encloze.commands._retrieval_sample import MEASURE, RetrievalSample
from encloze.data.dataset import DatasetSplit
from encloze.evaluation.estimates import estimate
from encloze.models.bi_encoder import BiEncoder
from encloze.models.device import resolve_device
from encloze.models.interpolation import WeightInterpolation


class FinetuningEffect:
    """Compares a model before and after fine-tuning, and with merged models (averages of the weights of the two).

    Args:
        encoder: The model, before the first training step.
        split: Judged queries that are not trained on.
        merge_weights: For each merged model, the weight of the fine-tuned model in the average, between 0 and 1.
        keep_best: Whether the best of all evaluated models is kept in place of the fine-tuned one.
        seed: Seed of the sample of documents.
    """

    def __init__(
        self, encoder: BiEncoder, split: DatasetSplit, merge_weights: Sequence[float], *, keep_best: bool, seed: int
    ) -> None:
        self._sample, self._merge_weights, self._keep_best = RetrievalSample(split, seed), merge_weights, keep_best
        encoder.to(resolve_device(None))
        self._initial: dict[str, Tensor] = {}
        if keep_best or merge_weights:
            self._initial = {name: value.detach().clone() for name, value in encoder.named_parameters()}
        self._initial_config = encoder.config
        progress.note(f"Evaluating the initial model on {len(self._sample.queries)} queries of {split.split}")
        self._values = {"initial": self._sample.evaluate(encoder)}

    def finish(self, encoder: BiEncoder) -> dict[str, Any]:
        """Evaluate the fine-tuned and merged models, and load the weights to keep into ``encoder``.

        Returns:
            The comparison: the mean nDCG@10 of each model, its difference from the initial model with the 95 %
            interval, and the name of the kept model.
        """
        progress.note(f"Evaluating the fine-tuned model on {self._sample.name}")
        self._values["finetuned"] = self._sample.evaluate(encoder)
        interpolation = WeightInterpolation(dict(encoder.named_parameters()), self._initial)
        merged = {f"merged {weight:g}": weight for weight in self._merge_weights}
        for name, weight in merged.items():
            interpolation.apply(weight)
            self._values[name] = self._sample.evaluate(encoder)
        kept = max(self._values, key=lambda name: self._values[name].mean()) if self._keep_best else "finetuned"
        interpolation.apply({"initial": 0.0, "finetuned": 1.0, **merged}[kept])
        if kept == "initial":
            encoder.config = self._initial_config
        initial = self._values["initial"]
        return {
            "split": self._sample.name,
            "queries": len(self._sample.queries),
            "documents": len(self._sample.documents),
            "measure": MEASURE,
            "means": {name: float(values.mean()) for name, values in self._values.items()},
            "differences": {
                name: difference(values, initial) for name, values in self._values.items() if name != "initial"
            },
            "kept": kept,
        }


def difference(values: np.ndarray, initial: np.ndarray) -> dict[str, float]:
    """Return the mean difference of two models over queries, its interval, and the smallest detectable difference."""
    differences = estimate([values], [initial])
    interval = differences.interval()
    detectable = differences.minimum_detectable_difference()
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "minimum_detectable": detectable}
