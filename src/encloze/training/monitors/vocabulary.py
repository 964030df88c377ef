"""Monitor of the term weights of held-out texts: terms that are active in no text, and active terms per text."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.term_activations import TermActivations
from encloze.models.layers.term_weights import apply_activation, max_logits
from encloze.models.pretraining_module import PretrainingModule
from encloze.training.monitors.base import Direction, Metrics, Monitor, PretrainingData, eval_mode


@dataclass(frozen=True)
class Vocabulary(Monitor, name="vocabulary"):
    """Fraction of the terms of the vocabulary active in no held-out text, and mean number of active terms per text.

    A term is active in a text if its weight is above 0. The term weights are those of SPLADE: log(1 + ReLU(logit)) with
    the maximum logit of the term over the positions of the text.
    """

    def directions(self, module: PretrainingModule) -> dict[str, Direction]:
        return {"never_activated": "lower"}

    def build(self, data: PretrainingData) -> Metrics:
        batches = data.held_out_batches()

        def compute(module: PretrainingModule) -> dict[str, float]:
            activations = TermActivations.empty(module.backbone.config.vocab_size)
            with eval_mode(module, data.precision) as device:
                for indices in batches:
                    batch = data.make_batch(indices, 0, device)
                    hidden = module.backbone.encode(batch.ids, batch.attention_mask)
                    logits = max_logits(hidden, batch.content_mask(), module.backbone.mlm_head())
                    is_active = apply_activation(logits, "log1p_relu") > 0  # batch x vocabulary
                    activations = activations.add(*(is_active.sum(dim=dim).cpu().numpy() for dim in (0, 1)))
            return {"never_activated": activations.dead_ratio, "active_dims": float(activations.active_dims.mean())}

        return compute
