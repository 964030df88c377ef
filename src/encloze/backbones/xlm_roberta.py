"""XLM-RoBERTa (Conneau et al., 2020), and what shares its code: multilingual E5, BGE-M3 ..."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead, lm_head


class XlmRoberta(Backbone, name="xlm_roberta"):
    """RoBERTa for a hundred languages, with a vocabulary of 250,002 pieces."""

    def head(self) -> VocabularyHead:
        return lm_head(self.model.lm_head)
