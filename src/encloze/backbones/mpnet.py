"""MPNet (Song et al., 2020), and what shares its code: all-mpnet-base, multi-qa-mpnet ..."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead, lm_head


class MpNet(Backbone, name="mpnet"):
    """RoBERTa's positions and head; the layers know relative positions as well, and there are no token types."""

    def head(self) -> VocabularyHead:
        return lm_head(self.model.lm_head)
