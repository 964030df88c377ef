"""ModernBERT (Warner et al., 2024), and what shares its code: rotary positions, local attention, texts to 8,192."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead


class ModernBert(Backbone, name="modernbert"):
    """Positions turn queries and keys inside the layers, so none are added to the tokens."""

    def head(self) -> VocabularyHead:
        return VocabularyHead(self.model.head, self.model.decoder)
