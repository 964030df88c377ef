"""DistilBERT (Sanh et al., 2019) and models of the same architecture: TAS-B, msmarco-distilbert."""

from __future__ import annotations

from torch import nn

from encloze.backbones.base import Backbone, MlmHead


class DistilBert(Backbone, name="distilbert"):
    """DistilBERT: half of BERT's layers, no token types, and no separate module for the language modeling head."""

    def mlm_head(self) -> MlmHead:
        model = self.model
        transform = nn.Sequential(model.vocab_transform, model.activation, model.vocab_layer_norm)
        return MlmHead(transform, model.vocab_projector)
