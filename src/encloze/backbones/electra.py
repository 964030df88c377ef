"""ELECTRA (Clark et al., 2020): generators have a head for masked tokens, discriminators get a new one."""

from __future__ import annotations

from encloze.backbones.base import Backbone, VocabularyHead


class Electra(Backbone, name="electra"):
    """BERT whose embeddings may be narrower than its hidden states; the head goes back to their width."""

    def head(self) -> VocabularyHead:
        return VocabularyHead(self.model.generator_predictions, self.model.generator_lm_head)
