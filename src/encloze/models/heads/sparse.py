"""Sparse head of SPLADE: a weight for each token of the vocabulary, from the logits of the MLM head.

Sum pooling follows SPLADE (Formal et al., SIGIR 2021, https://arxiv.org/abs/2107.05720). Max pooling follows SPLADE v2
(https://arxiv.org/abs/2109.10086): w_j = max over positions i of log(1 + max(0, logit_ij)). With the query encoding
``bag_of_words``, queries need no encoder (inference-free), as in SPLADE-doc. With the encoding ``term_weighting``, only
tokens that occur in a text get a weight, as in SPLADE-v3-Lexical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads._term_head import TermHead, multi_hot
from encloze.models.heads.base import HeadInput, Side
from encloze.models.layers.term_weights import apply_activation, lexical_term_weights, max_logits, summed_term_weights


@dataclass(frozen=True)
class Sparse(TermHead, name="sparse"):
    """Sparse head of SPLADE, with or without expansion by tokens that do not occur in the text."""

    pooling: Literal["max", "sum"] = "max"
    """Whether a token's weight is the maximum or the sum over the positions of the text."""
    query_encoding: Literal["expansion", "term_weighting", "bag_of_words"] = "expansion"
    """Which tokens get a weight in queries. ``expansion``: any token of the vocabulary. ``term_weighting``: only tokens
    of the query. ``bag_of_words``: tokens of the query, each with weight 1, so queries need no encoder
    (inference-free)."""
    document_encoding: Literal["expansion", "term_weighting"] = "expansion"
    """Which tokens get a weight in documents. ``expansion``: any token of the vocabulary. ``term_weighting``: only
    tokens of the document."""

    query_logit_bias: float = 0.0
    """Number added to all logits of queries. Negative numbers reduce how many term weights are above 0 (active
    dimensions). Fine-tuning with ``target_active_dims`` sets this number after training."""
    document_logit_bias: float = 0.0
    """Number added to all logits of documents; see ``query_logit_bias``."""

    def needs_hidden_states(self, side: Side) -> bool:
        return side == "document" or self.query_encoding != "bag_of_words"

    def represent(self, inputs: HeadInput, side: Side, backbone: Backbone, module: nn.Module | None) -> Tensor:
        is_query = side == "query"
        encoding = self.query_encoding if is_query else self.document_encoding
        if encoding == "bag_of_words":
            return multi_hot(inputs.texts, int(backbone.config.vocab_size)).to(backbone.model.dtype)
        assert inputs.hidden is not None
        texts, hidden, head, positions = inputs.texts, inputs.hidden, backbone.mlm_head(), self.position_mask(inputs)
        logit_bias = self.query_logit_bias if is_query else self.document_logit_bias
        if encoding == "term_weighting":
            summed = self.pooling == "sum"
            return lexical_term_weights(hidden, positions, texts.ids, texts.own_tokens, head, logit_bias, summed=summed)
        if self.pooling == "max":
            return apply_activation(max_logits(hidden, positions, head, logit_bias), "log1p_relu")
        return summed_term_weights(hidden, positions, head, logit_bias)
