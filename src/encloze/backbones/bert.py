"""BERT (Devlin et al., 2019), and what shares its code: MiniLM, HeBERT, DictaBERT, BGE v1 ..."""

from __future__ import annotations

from torch import Tensor, nn

from encloze.backbones.base import Backbone


class Bert(Backbone, name="bert"):
    """Learned absolute positions, one head module ``cls``."""

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.encoder.embeddings(input_ids=ids)
        return embedded

    def place(self, vectors: Tensor) -> Tensor:
        placed: Tensor = self.encoder.embeddings(inputs_embeds=vectors)
        return placed

    def positions(self, length: int) -> Tensor:
        table: Tensor = self.encoder.embeddings.position_embeddings.weight
        return table[:length]

    def predict(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head()(hidden)
        return logits

    def head(self) -> nn.Module:
        head: nn.Module = self.model.cls
        return head
