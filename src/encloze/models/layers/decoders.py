"""Shallow decoders that rebuild a text from its embedding; their weights are named as BERT's layers name them.

Shapes: batch, length, width, inner (of the feed-forward part), heads.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.backbones.base import Backbone, Shape

QueryStream = Literal["normalised", "raw"]


class DecoderLayer(nn.Module):
    """One post-norm transformer layer whose queries may be other vectors than its keys and values.

    The residual adds the queries: in RetroMAE's enhanced decoding nothing of the context stream goes around the
    attention mask. Weights start as BERT's do: N(0, initializer_range), biases 0.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.inner
        self.heads, self.attention_dropout = shape.heads, shape.attention_dropout
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict(
                    {"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, shape.eps)}
                ),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, shape.eps)})
        self.dropout = nn.Dropout(shape.dropout)
        begin_as_bert(self, shape.spread)

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


class Places(nn.Module):
    """Puts vectors in their places for a decoder.

    Most encoders add a position to each token before the first layer; a decoder reads what they read. Those that do
    not (DeBERTa, ModernBERT) leave a decoder blind to order, so it gets positions and a norm of its own for them.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.lent = backbone.has_positions
        if not self.lent:
            shape = backbone.shape
            self.table = nn.Embedding(backbone.max_tokens, shape.width)
            self.norm, self.dropout = nn.LayerNorm(shape.width, shape.eps), nn.Dropout(shape.dropout)
            nn.init.normal_(self.table.weight, std=shape.spread)

    def tokens(self, backbone: Backbone, ids: Tensor) -> Tensor:
        """The vectors of tokens at their places: batch x length x width, of ids batch x length."""
        embedded = backbone.embed(ids)
        return embedded if self.lent else self._own(embedded)

    def queries(self, backbone: Backbone, embedding: Tensor, length: int, stream: QueryStream) -> Tensor:
        """One vector at every place: batch x length x width, of embeddings batch x width."""
        everywhere = embedding[:, None].expand(-1, length, -1)
        if stream == "raw":
            return everywhere + (backbone.positions(length) if self.lent else self.table.weight[:length])
        return backbone.place(everywhere) if self.lent else self._own(everywhere)

    def _own(self, vectors: Tensor) -> Tensor:
        placed: Tensor = self.dropout(self.norm(vectors + self.table.weight[: vectors.shape[1]]))
        return placed


class Decoder(nn.Module):
    """Layers over a text's token vectors with an embedding in the first place; ``visible`` says who sees whom.

    The token vectors are the encoder's own, so it is handed in at every call.
    """

    def __init__(self, backbone: Backbone, layers: int) -> None:
        super().__init__()
        self.places = Places(backbone)
        self.layers = nn.ModuleList(DecoderLayer(backbone.shape) for _ in range(layers))

    def forward(self, backbone: Backbone, embedding: Tensor, ids: Tensor, visible: Tensor) -> Tensor:
        """batch x length x width, of embeddings batch x width, ids batch x length and a mask as DecoderLayer's."""
        hidden = with_first(embedding, self.places.tokens(backbone, ids))
        for layer in self.layers:
            hidden = layer(hidden, hidden, visible)
        return hidden


class EnhancedDecoder(Decoder):
    """RetroMAE's (section 3.3): each place asks with embedding + position, and sees tokens of its own choice."""

    def __init__(self, backbone: Backbone, stream: QueryStream) -> None:
        super().__init__(backbone, layers=1)
        self.stream = stream

    def forward(self, backbone: Backbone, embedding: Tensor, ids: Tensor, visible: Tensor) -> Tensor:
        return enhanced(self.layers[0], self.places, backbone, embedding, ids, visible, self.stream)


def enhanced(
    layer: nn.Module,
    places: Places,
    backbone: Backbone,
    embedding: Tensor,
    ids: Tensor,
    visible: Tensor,
    stream: QueryStream,
) -> Tensor:
    """Enhanced decoding (RetroMAE, Eq. 4 to 7) by one layer: batch x length x width, of embeddings batch x width."""
    context = with_first(embedding, places.tokens(backbone, ids))
    rebuilt: Tensor = layer(places.queries(backbone, embedding, ids.shape[1], stream), context, visible)
    return rebuilt


def begin_as_bert(module: nn.Module, spread: float) -> None:
    """First weights of linear maps: N(0, spread), biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=spread)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def everything_real(attention: Tensor) -> Tensor:
    """A mask that lets every place see every token but padding: bool, batch x length x length."""
    return attention[:, None, :].expand(-1, attention.shape[1], -1)


def what_came_before(attention: Tensor, window: int | None = None) -> Tensor:
    """A mask that lets every place see itself and what stands before it: bool, batch x length x length.

    With a window, of the tokens only the last so many, the place itself counted; the first place always.
    """
    places = torch.arange(attention.shape[1], device=attention.device)
    distance = places[:, None] - places
    seen = distance >= 0
    if window is not None:
        seen = seen & ((distance < window) | (places == 0))
    return seen & attention[:, None, :]


def with_first(embedding: Tensor, tokens: Tensor) -> Tensor:
    """Token vectors (batch x length x width) with the text's embedding (batch x width) in the first place."""
    return torch.cat([embedding[:, None].to(tokens.dtype), tokens[:, 1:]], dim=1)
