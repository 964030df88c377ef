"""Monitor of overfitting: loss terms on held-out texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from encloze import progress
from encloze.models.pretraining_module import PretrainingModule
from encloze.training.monitors.base import Direction, Metrics, Monitor, PretrainingData, eval_mode

_MIN_RATIO = 1.002  # smaller increases over the lowest loss are noise
_MAX_EXPONENT = 100.0


@dataclass(frozen=True)
class HeldOut(Monitor, name="held_out"):
    """Loss terms and the encoder's perplexity on held-out texts. The masked tokens are the same in each evaluation.

    Warns if a loss term is above its lowest value so far in two consecutive evaluations.
    """

    def directions(self, module: PretrainingModule) -> dict[str, Direction]:
        perplexity = ["perplexity"] if "encoder" in module.loss_weights else []
        return dict.fromkeys([*module.loss_weights, *perplexity], "lower")

    def build(self, data: PretrainingData) -> Metrics:
        return _HeldOutLosses(data)


class _HeldOutLosses:
    """Computes the mean of each loss term on held-out texts. Stores the lowest mean so far, to detect overfitting."""

    def __init__(self, data: PretrainingData) -> None:
        self._data, self._batches = data, data.held_out_batches()
        self._lowest: dict[str, float] = {}
        self._increases: dict[str, int] = {}

    def __call__(self, module: PretrainingModule) -> dict[str, float]:
        sums, counts = dict[str, float](), dict[str, float]()
        with eval_mode(module, self._data.precision) as device:
            for indices in self._batches:
                sampled = module.sample(self._data.make_batch(indices, 0, device))
                batch_sums, embeddings = module(sampled)
                if embeddings:
                    batch_sums |= module.global_losses(embeddings)
                for name, value in batch_sums.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                for name, count in sampled.counts().items():
                    counts[name] = counts.get(name, 0.0) + float(count)
        means = {name: sums[name] / max(1.0, counts[name]) for name in sums if not name.endswith("accuracy")}
        for name in module.loss_weights:
            self._check_overfitting(name, means[name])
        if "encoder" in means:
            means["perplexity"] = math.exp(min(means["encoder"], _MAX_EXPONENT))
        return means

    def _check_overfitting(self, name: str, value: float) -> None:
        """Warn if a loss term is above its lowest value so far in two consecutive evaluations."""
        is_higher = value > _MIN_RATIO * self._lowest.get(name, math.inf)
        self._increases[name] = self._increases.get(name, 0) + 1 if is_higher else 0
        self._lowest[name] = min(value, self._lowest.get(name, math.inf))
        if self._increases[name] == 2 and math.isfinite(value):
            progress.warn(
                f"the held-out loss {name!r} was above its minimum {self._lowest[name]:.4f} in two consecutive "
                f"evaluations (now {value:.4f}): the model overfits. Use fewer steps, a lower learning rate or more "
                f"texts, or keep the best weights with --validation.metric_for_best_model held_out.{name}"
            )
