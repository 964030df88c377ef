"""Ordinary-token representation of DupMAE (Xiao et al., ACL 2023, section 3.4): the highest logit of each token.

The highest logit of each vocabulary token is the maximum over the positions of the text, by default without special
tokens and prompt. For a document, only the 384 highest logits are kept; for a query, all are kept. The paper represents
a text by these logits and an embedding of 384 dimensions. The code that its authors released does not compute them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads._term_head import TermHead
from encloze.models.heads.base import HeadInput, Side
from encloze.models.layers.term_weights import max_logits


@dataclass(frozen=True)
class OrdinaryTokens(TermHead, name="ordinary_tokens"):
    """Sparse head: the weight of each vocabulary token is its highest MLM logit over the positions of the text."""

    pool_special_tokens: bool = False
    document_top_k: int | None = 384
    top_k_in_training: bool = True

    def represent(self, inputs: HeadInput, side: Side, backbone: Backbone, module: nn.Module | None) -> Tensor:
        assert inputs.hidden is not None
        return max_logits(inputs.hidden, self.position_mask(inputs), backbone.mlm_head())
