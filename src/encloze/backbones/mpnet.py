"""MPNet (Song et al., 2020) and models of the same architecture: all-mpnet-base, multi-qa-mpnet."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead, lm_head


class MpNet(Backbone, name="mpnet"):
    """MPNet: position ids and MLM head as in RoBERTa, attention biases by relative position, and no token types."""

    def mlm_head(self) -> MlmHead:
        return lm_head(self.model.lm_head)
