"""BERT (Devlin et al., 2019), and what shares its code: MiniLM, HeBERT, DictaBERT, BGE v1 ..."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead


class Bert(Backbone, name="bert"):
    """Learned absolute positions, one head module ``cls``."""

    def head(self) -> VocabularyHead:
        predictions = self.model.cls.predictions
        return VocabularyHead(predictions.transform, predictions.decoder)
