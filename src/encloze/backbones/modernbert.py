"""ModernBERT (Warner et al., 2024): rotary positions, local attention, and inputs of up to 8,192 tokens."""

from __future__ import annotations

from encloze.backbones.base import Backbone, MlmHead


class ModernBert(Backbone, name="modernbert"):
    """ModernBERT: rotary position embeddings in attention, so no position embeddings are added to tokens."""

    def mlm_head(self) -> MlmHead:
        return MlmHead(self.model.head, self.model.decoder)
