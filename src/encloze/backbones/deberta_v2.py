"""DeBERTa v2 and v3 (He et al., 2021): positions only in the attention; mDeBERTa and other v3 among them."""

from __future__ import annotations

from torch import nn

from encloze.backbones.base import Backbone, VocabularyHead


class DebertaV2(Backbone, name="deberta_v2"):
    """Two heads share the name: BERT's, which is transformers' default (``legacy``), and DeBERTa's own.

    The published v3 checkpoints were trained to tell replaced tokens and hold no head of the first kind: theirs is new.
    """

    def head(self) -> VocabularyHead:
        if self.config.legacy:
            predictions = self.model.cls.predictions
            return VocabularyHead(predictions.transform, predictions.decoder)
        own = self.model.lm_predictions.lm_head
        words = self.encoder.get_input_embeddings().weight
        # DeBERTa's own multiplies with the embeddings' matrix: this holds it as a linear map does, and takes no memory.
        decoder = nn.Linear(words.shape[1], words.shape[0], device="meta")
        decoder.weight, decoder.bias = words, own.bias
        return VocabularyHead(nn.Sequential(own.dense, own.transform_act_fn, own.LayerNorm), decoder)
