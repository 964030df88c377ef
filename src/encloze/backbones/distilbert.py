"""DistilBERT (Sanh et al., 2019) and models of the same architecture: TAS-B, msmarco-distilbert."""

from __future__ import annotations

from torch import nn

from encloze.backbones.base import Backbone, MlmHead


class DistilBert(Backbone, name="distilbert"):
    """DistilBERT: BERT with half the layers and no token types; the MLM head is several separate modules."""

    def mlm_head(self) -> MlmHead:
        model = self.model
        transform = nn.Sequential(model.vocab_transform, model.activation, model.vocab_layer_norm)
        return MlmHead(transform, model.vocab_projector)
