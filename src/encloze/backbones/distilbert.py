"""DistilBERT (Sanh et al., 2019), and what shares its code: TAS-B, msmarco-distilbert, distilled SPLADE ..."""

from __future__ import annotations

from torch import nn

from encloze.backbones.base import Backbone, VocabularyHead


class DistilBert(Backbone, name="distilbert"):
    """BERT with half the layers and no token types; its head's parts lie bare in the model, in no order."""

    def head(self) -> VocabularyHead:
        model = self.model
        transform = nn.Sequential(model.vocab_transform, model.activation, model.vocab_layer_norm)
        return VocabularyHead(transform, model.vocab_projector)
