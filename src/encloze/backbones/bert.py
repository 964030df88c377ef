"""BERT (Devlin et al., 2019) and models of the same architecture: MiniLM, HeBERT, DictaBERT, BGE v1."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead


class Bert(Backbone, name="bert"):
    """BERT: learned absolute position embeddings, and an MLM head in the attribute ``cls``."""

    def mlm_head(self) -> MlmHead:
        predictions = self.model.cls.predictions
        return MlmHead(predictions.transform, predictions.decoder)
