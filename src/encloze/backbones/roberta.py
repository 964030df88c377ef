"""RoBERTa (Liu et al., 2019) and models of the same architecture: DistilRoBERTa, CodeBERT."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead, lm_head


class Roberta(Backbone, name="roberta"):
    """RoBERTa: BERT with position ids that start after the padding id, and an MLM head in the attribute ``lm_head``."""

    def mlm_head(self) -> MlmHead:
        return lm_head(self.model.lm_head)
