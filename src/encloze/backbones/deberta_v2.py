"""DeBERTa v2 and v3 (He et al., 2021), including mDeBERTa: relative positions in attention."""

from __future__ import annotations

from torch import nn

from encloze.backbones.base import Backbone, MlmHead


class DebertaV2(Backbone, name="deberta_v2"):
    """DeBERTa v2 and v3, with one of two kinds of MLM head, depending on ``legacy`` in config.json.

    If ``legacy`` is true (the default), the head has the layers of BERT's head, otherwise those of the original
    DeBERTa code. The published v3 checkpoints were trained with replaced token detection and contain no head with the
    layers of BERT's, so a new head is initialized randomly.
    """

    def mlm_head(self) -> MlmHead:
        if self.config.legacy:
            predictions = self.model.cls.predictions
            return MlmHead(predictions.transform, predictions.decoder)
        head = self.model.lm_predictions.lm_head
        words = self.encoder.get_input_embeddings().weight
        # DeBERTa's head multiplies by the embedding matrix. A linear layer on the meta device shares it without memory.
        decoder = nn.Linear(words.shape[1], words.shape[0], device="meta")
        decoder.weight, decoder.bias = words, head.bias
        return MlmHead(nn.Sequential(head.dense, head.transform_act_fn, head.LayerNorm), decoder)
