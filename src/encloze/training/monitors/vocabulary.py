"""How much of the vocabulary the sparse view uses: dead tokens, and active ones a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

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
            used, active, texts = torch.zeros(module.backbone.config.vocab_size, dtype=torch.bool), 0.0, 0
            with at_rest(module, material.precision) as place:
                for numbers in batches:
                    batch = material.make_batch(numbers, 0, place)
                    hidden = module.backbone.encode(batch.ids, batch.attention)
                    logits = highest_logits(hidden, batch.own_places(), module.backbone.head())
                    weights = activated(logits, "log1p_relu") > 0
                    used |= weights.any(dim=0).cpu()
                    active, texts = active + float(weights.sum()), texts + len(weights)
            return {"dead": 1 - float(used.float().mean()), "active": active / max(1, texts)}

        return look
