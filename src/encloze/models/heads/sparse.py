"""Term weights: for each token of the vocabulary what the text says about it, as SPLADE has it.

Formal et al., SIGIR 2021 (https://arxiv.org/abs/2107.05720) and, for the maximum over places, its second version
(https://arxiv.org/abs/2109.10086): w_j = max over places i of log(1 + max(0, logit_ij)). A query that is a bag of
words needs no encoder (SPLADE-doc there); weights of the text's own tokens only are no expansion (SPLADE-v3-Lexical).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads._over_vocabulary import OverVocabulary, held
from encloze.models.heads.base import Read, Side
from encloze.models.layers.term_weights import activated, highest_logits, own_weights, summed_weights


@dataclass(frozen=True)
class Sparse(OverVocabulary, name="sparse"):
    """Weights of words, those that the text does not hold among them."""

    pooling: Literal["max", "sum"] = "max"
    """Whether a token's weight is the highest over the places, or their sum."""
    queries: Literal["expansion", "lexical", "bag"] = "expansion"
    """expansion: any token may have a weight; lexical: only those that the query holds; bag: these, and each has the
    weight 1, so that queries are not encoded at all."""
    documents: Literal["expansion", "lexical"] = "expansion"
    """expansion: any token may have a weight; lexical: only those that the document holds."""

    query_shift: float = 0.0
    """Taken off a query's logits: above 0 it leaves fewer words. Fine-tuning with active_terms sets it at its end."""
    document_shift: float = 0.0
    """The same for documents."""

    def reads_hidden(self, side: Side) -> bool:
        return side == "document" or self.queries != "bag"

    def represent(self, read: Read, side: Side, backbone: Backbone, part: nn.Module | None) -> Tensor:
        mode, shift = (self.queries, self.query_shift) if side == "query" else (self.documents, self.document_shift)
        if mode == "bag":
            return held(read.texts, int(backbone.config.vocab_size)).to(backbone.model.dtype)
        assert read.hidden is not None
        head, places = backbone.head(), self.places(read)
        if mode == "lexical":
            summed = self.pooling == "sum"
            return own_weights(read.hidden, places, read.texts.ids, read.texts.own, head, shift, summed=summed)
        if self.pooling == "max":
            return activated(highest_logits(read.hidden, places, head, shift), "log1p_relu")
        return summed_weights(read.hidden, places, head, shift)
