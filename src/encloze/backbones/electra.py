"""ELECTRA (Clark et al., 2020): generators have an MLM head, discriminators get a new one."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead


class Electra(Backbone, name="electra"):
    """ELECTRA: BERT with embeddings that may be narrower than hidden states; the head returns to their size."""

    def mlm_head(self) -> MlmHead:
        return MlmHead(self.model.generator_predictions, self.model.generator_lm_head)
