"""Whether the embedding is used: the decoders' losses with a text's own embedding, and with another text's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze.errors import RecipeError
from encloze.objectives.base import PretrainingModule, Reading
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest


@dataclass(frozen=True)
class Bottleneck(Monitor, name="bottleneck"):
    """How much worse the decoders do with another text's embedding: 0 says that they do without."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {"*": "lower"}

    def probe(self, material: Material) -> Probe:
        return _Shuffled(material)


class _Shuffled:
    def __init__(self, material: Material) -> None:
        self.material = material
        self.batches = [batch for batch in material.batches() if len(batch) > 1]
        if not self.batches:
            place = material.format.place()
            message = f"{place} has too few held-out texts of like length to shuffle embeddings: hold out more"
            raise RecipeError("the recipe", [("watching.held_out", message)])

    def __call__(self, module: PretrainingModule) -> dict[str, float]:
        own, other, counts = dict[str, float](), dict[str, float](), dict[str, float]()
        with at_rest(module, self.material.precision) as place:
            for numbers in self.batches:
                drawn = module.draw(self.material.make_batch(numbers, 0, place))
                reading = module.read(drawn)
                for sums, seen in ((own, reading), (other, shuffled(reading))):
                    for name, value in module.rebuild(drawn, seen).items():
                        sums[name] = sums.get(name, 0.0) + float(value)
                for name, count in drawn.counts().items():
                    counts[name] = counts.get(name, 0.0) + float(count)
        figures = {}
        for name in own.keys() & module.weights.keys():
            figures[f"{name}_own"] = own[name] / max(1.0, counts[name])
            figures[f"{name}_shuffled"] = other[name] / max(1.0, counts[name])
        return dict(sorted(figures.items()))


def shuffled(reading: Reading) -> Reading:
    """The same reading, but each text's views are those of the text before it in the batch."""
    return reading._replace(views=tuple(view.roll(1, dims=0) for view in reading.views))
