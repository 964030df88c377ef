"""XLM-RoBERTa (Conneau et al., 2020) and models of the same architecture: multilingual E5, BGE-M3."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead, lm_head


class XlmRoberta(Backbone, name="xlm_roberta"):
    """XLM-RoBERTa: RoBERTa for 100 languages, with a vocabulary of 250,002 tokens."""

    def mlm_head(self) -> MlmHead:
        return lm_head(self.model.lm_head)
