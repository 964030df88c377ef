"""Shallow decoders that rebuild a text from its embedding; their weights are named as BERT's layers name them.

Shapes: batch, length, width, inner (of the feed-forward part), heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecoderLayer(nn.Module):
    """One post-norm transformer layer whose queries may be other vectors than its keys and values.

    The residual adds the queries: in RetroMAE's enhanced decoding nothing of the context stream goes around the
    attention mask. Weights start as BERT's do: N(0, initializer_range), biases 0.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads, self.attention_dropout = config.num_attention_heads, config.attention_probs_dropout_prob
        eps, dropout = config.layer_norm_eps, config.hidden_dropout_prob
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps)}),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps)})
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.initializer_range)
                nn.init.zeros_(module.bias)

    def forward(self, queries: Tensor, context: Tensor, visible: Tensor) -> Tensor:
        """batch x length x width, of queries and context of that shape and visible: bool, batch x length x length."""
        batch, length, width = queries.shape
        split = (batch, length, self.heads, width // self.heads)
        project: Any = self.attention["self"]
        query = project["query"](queries).view(split).transpose(1, 2)
        key = project["key"](context).view(split).transpose(1, 2)
        value = project["value"](context).view(split).transpose(1, 2)
        dropout = self.attention_dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None], dropout_p=dropout)
        attended: Any = self.attention["output"]
        joined = self.dropout(attended["dense"](found.transpose(1, 2).reshape(batch, length, width)))
        joined = attended["LayerNorm"](joined + queries)
        inner = F.gelu(self.intermediate["dense"](joined))
        rebuilt: Tensor = self.output["LayerNorm"](self.dropout(self.output["dense"](inner)) + joined)
        return rebuilt


def everything_real(attention: Tensor) -> Tensor:
    """A mask that lets every place see every token but padding: bool, batch x length x length."""
    return attention[:, None, :].expand(-1, attention.shape[1], -1)


def with_first(embedding: Tensor, tokens: Tensor) -> Tensor:
    """Token vectors (batch x length x width) with the text's embedding (batch x width) in the first place."""
    return torch.cat([embedding[:, None].to(tokens.dtype), tokens[:, 1:]], dim=1)
