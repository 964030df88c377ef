"""RoBERTa (Liu et al., 2019), and what shares its code: DistilRoBERTa, CodeBERT, many of one language ..."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead, lm_head


class Roberta(Backbone, name="roberta"):
    """BERT whose positions are counted from the padding's number on, and are none for padding."""

    def head(self) -> VocabularyHead:
        return lm_head(self.model.lm_head)
