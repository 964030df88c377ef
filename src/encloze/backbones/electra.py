"""ELECTRA (Clark et al., 2020): generators have an MLM head, discriminators get a randomly initialized one."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead


class Electra(Backbone, name="electra"):
    """ELECTRA: BERT, but the embedding size may be below the hidden size. The MLM head maps to the embedding size."""

    def mlm_head(self) -> MlmHead:
        return MlmHead(self.model.generator_predictions, self.model.generator_lm_head)
