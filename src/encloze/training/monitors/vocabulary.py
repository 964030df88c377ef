"""Monitor of sparse representations: vocabulary terms that are never activated, and active dimensions per text."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.term_activations import TermActivations
from encloze.models.layers.term_weights import apply_activation, max_logits
from encloze.models.pretraining_module import PretrainingModule
from encloze.training.monitors.base import Direction, Metrics, Monitor, PretrainingData, eval_mode


@dataclass(frozen=True)
class Vocabulary(Monitor, name="vocabulary"):
    """Fraction of the vocabulary that no held-out text activates, and mean number of active dimensions per text.

    A text activates a term if the term weight is above 0. Term weights are those of SPLADE: log(1 + ReLU(logit)) with
    the maximum logit over the positions.
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
