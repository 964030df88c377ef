"""How much of the vocabulary the sparse view uses: dead tokens, and active ones a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze.evaluation.word_use import WordUse
from encloze.models.layers.term_weights import activated, highest_logits
from encloze.objectives.base import PretrainingModule
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest


@dataclass(frozen=True)
class Vocabulary(Monitor, name="vocabulary"):
    """Of all tokens, the share that no held-out text gives a weight to, and how many each text does (SPLADE's)."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {"dead": "lower"}

    def probe(self, material: Material) -> Probe:
        batches = material.batches()

        def look(module: PretrainingModule) -> dict[str, float]:
            use = WordUse.of_nothing(module.backbone.config.vocab_size)
            with at_rest(module, material.precision) as place:
                for numbers in batches:
                    batch = material.make_batch(numbers, 0, place)
                    hidden = module.backbone.encode(batch.ids, batch.attention)
                    logits = highest_logits(hidden, batch.own_places(), module.backbone.head())
                    weights = activated(logits, "log1p_relu") > 0
                    use = use.with_texts(*(weights.sum(dim=side).cpu().numpy() for side in (0, 1)))
            return {"dead": use.dead, "active": float(use.active.mean())}

        return look
