"""The losses on texts that nothing is learnt from, and whether they begin to rise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze import progress
from encloze.objectives.base import PretrainingModule
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest

_NOISE = 1.002  # a loss that is level goes up and down by less


@dataclass(frozen=True)
class HeldOut(Monitor, name="held_out"):
    """Each term of the loss on held-out texts, with the same holes every time, and the encoder's perplexity."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {"*": "lower"}

    def probe(self, material: Material) -> Probe:
        return _Losses(material)


class _Losses:
    def __init__(self, material: Material) -> None:
        self.material, self.batches = material, material.batches()
        self.lowest: dict[str, float] = {}
        self.risen: dict[str, int] = {}

    def __call__(self, module: PretrainingModule) -> dict[str, float]:
        sums, counts = dict[str, float](), dict[str, float]()
        with at_rest(module, self.material.precision) as place:
            for numbers in self.batches:
                drawn = module.draw(self.material.make_batch(numbers, 0, place))
                found, compared = module(drawn)
                if compared:
                    found |= module.compare(compared)
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                for name, count in drawn.counts().items():
                    counts[name] = counts.get(name, 0.0) + float(count)
        means = {name: sums[name] / max(1.0, counts[name]) for name in sums if not name.endswith("_right")}
        for name in module.weights:
            self._watch(name, means[name])
        if "encoder" in means:
            means["perplexity"] = math.exp(min(means["encoder"], 100.0))
        return means

    def _watch(self, name: str, value: float) -> None:
        """Warn where a term rose twice in a row: what is learnt then is these texts, not their language."""
        rising = value > _NOISE * self.lowest.get(name, math.inf)
        self.risen[name] = self.risen.get(name, 0) + 1 if rising else 0
        self.lowest[name] = min(value, self.lowest.get(name, math.inf))
        if self.risen[name] == 2 and math.isfinite(value):
            progress.warn(
                f"the held-out loss {name!r} has risen twice in a row (lowest {self.lowest[name]:.4f}, now "
                f"{value:.4f}): the model begins to learn these texts by heart. Fewer steps, a lower learning rate or "
                f"more texts would serve better; --watching.best held_out.{name} keeps the best weights"
            )
