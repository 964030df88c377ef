"""Whether the embedding is used: the decoders' losses with a text's own embedding, and with another text's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from encloze.errors import RecipeError
from encloze.evaluation.significance import bootstrap
from encloze.objectives.base import PretrainingModule, Reading
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest

_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Bottleneck(Monitor, name="bottleneck"):
    """How much worse the decoders do with the embedding of a text of another source: a ``gap`` of 0 says that they do
    without.

    Means over texts of each decoder's loss; the gap's 99 % interval is a bootstrap over texts of the differences.
    """

    texts: int = 256
    """So many of the held-out texts at most; each is taken by itself."""

    def __post_init__(self) -> None:
        if self.texts < 2:
            raise ValueError(f"texts must be 2 or more, not {self.texts}")

    def probe(self, material: Material) -> Probe:
        numbers = material.held_out[: self.texts]
        if len(numbers) < 2:
            message = f"{material.format.place()} has a single held-out text, and embeddings are exchanged between two"
            raise RecipeError("the recipe", [("watching.held_out", message)])

        def look(module: PretrainingModule) -> dict[str, float]:
            figures: dict[str, float] = {}
            for term, (own, other) in losses(module, material, numbers).items():
                gap = bootstrap(other - own, confidence=_CONFIDENCE, seed=material.seed)
                figures |= {f"{term}_own": float(own.mean()), f"{term}_shuffled": float(other.mean())}
                figures |= {f"{term}_gap": gap.mean, f"{term}_gap_low": gap.low, f"{term}_gap_high": gap.high}
            return figures

        return look


def losses(
    module: PretrainingModule, material: Material, numbers: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each decoder's mean loss for each text, with its own views and with those of a text of another source.

    A neighbour's view says much about a text, so it would not do; it has to where all texts are of one source.
    """
    found: dict[str, tuple[list[float], list[float]]] = {}
    with at_rest(module, material.precision) as place:

        def read(number: int) -> tuple[Any, Reading]:
            drawn = module.draw(material.make_batch(np.array([number]), 0, place))
            return drawn, module.read(drawn)

        views = dict[int, tuple[Tensor, ...]]()
        for number, other in by_others(numbers, material.spans.group):
            drawn, reading = read(number)
            views[number] = reading.views
            counts = drawn.counts()
            own = module.rebuild(drawn, reading)
            others = views[other] if other in views else read(other)[1].views
            shuffled = module.rebuild(drawn, reading._replace(views=others))
            for term in own.keys() & module.weights.keys():
                for values, sums in zip(found.setdefault(term, ([], [])), (own, shuffled), strict=True):
                    values.append(float(sums[term]) / max(1.0, float(counts[term])))
    return {term: (np.array(own), np.array(shuffled)) for term, (own, shuffled) in sorted(found.items())}


def by_others(numbers: np.ndarray, group: np.ndarray) -> list[tuple[int, int]]:
    """Each number with the last one before it, going round, that is of another source; with any one where none is."""
    pairs = []
    for at, number in enumerate(numbers.tolist()):
        before = np.roll(numbers, -at)[:0:-1]  # the nearest first
        apart = before[group[before] != group[number]]
        pairs.append((number, int((apart if len(apart) else before)[0])))
    return pairs
