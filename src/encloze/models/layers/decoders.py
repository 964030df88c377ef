"""Shallow transformer decoders that reconstruct a text from its sentence embedding."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.backbones.hf.layer_config import LayerConfig
from encloze.models.layers.initialization import init_bert_weights

QueryStream = Literal["normalized", "raw"]


class DecoderLayer(nn.Module):
    """Post-norm transformer layer whose attention queries and attention keys are computed from two different inputs.

    The inputs are ``queries`` and ``context``. The residual connection adds only ``queries``, so a position receives
    information only from the positions of ``context`` that its attention mask allows. Parameters are named as in BERT.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        size, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.num_heads, self.attention_dropout = config.num_attention_heads, config.attention_probs_dropout_prob
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict({"dense": nn.Linear(size, size), "LayerNorm": nn.LayerNorm(size, eps)}),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, size), "LayerNorm": nn.LayerNorm(size, eps)})
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        init_bert_weights(self, config.initializer_range)

    def forward(self, queries: Tensor, context: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states after this layer: batch x length x hidden size.

        Args:
            queries: batch x length x hidden size; source of the attention queries and of the residual connection.
            context: batch x length x hidden size; source of the attention keys and values.
            attention_mask: bool, batch x length x length; True where a query position attends to a key position.
        """
        batch, length, size = queries.shape
        projections: Any = self.attention["self"]
        query, key, value = (
            projections[name](vectors).view(batch, length, self.num_heads, size // self.num_heads).transpose(1, 2)
            for name, vectors in (("query", queries), ("key", context), ("value", context))
        )
        dropout = self.attention_dropout if self.training else 0.0
        mask = attention_mask[:, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        output: Any = self.attention["output"]
        attended = output["dense"](attended.transpose(1, 2).reshape(batch, length, size))
        attended = output["LayerNorm"](self.dropout(attended) + queries)
        inner = F.gelu(self.intermediate["dense"](attended))
        hidden: Tensor = self.output["LayerNorm"](self.dropout(self.output["dense"](inner)) + attended)
        return hidden


class DecoderEmbeddings(nn.Module):
    """Input embeddings of a decoder: those of the encoder, plus new position embeddings if the encoder has none.

    DeBERTa and ModernBERT have no position embeddings. Without new ones, the decoder would not know the token order.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.shares_positions = backbone.has_position_embeddings
        if not self.shares_positions:
            config = backbone.layer_config
            self.positions = nn.Embedding(backbone.max_tokens, config.hidden_size)
            self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
            self.dropout = nn.Dropout(config.hidden_dropout_prob)
            nn.init.normal_(self.positions.weight, std=config.initializer_range)

    def embed_tokens(self, backbone: Backbone, ids: Tensor) -> Tensor:
        """Return token plus position embeddings (batch x length x hidden size) of token ids (batch x length)."""
        embedded = backbone.embed(ids)
        return embedded if self.shares_positions else self._add_positions(embedded)

    def embed_queries(self, backbone: Backbone, embedding: Tensor, length: int, stream: QueryStream) -> Tensor:
        """Return the sum of the sentence embedding and each position's embedding (RetroMAE, Eq. 4).

        The result is batch x length x hidden size. If ``stream`` is ``normalized``, the LayerNorm and dropout of the
        embedding layer are applied to the sum; if it is ``raw``, they are not.
        """
        repeated = embedding[:, None].expand(-1, length, -1)
        if stream == "raw":
            shared = self.shares_positions
            return repeated + (backbone.position_embeddings(length) if shared else self.positions.weight[:length])
        return backbone.add_position_embeddings(repeated) if self.shares_positions else self._add_positions(repeated)

    def _add_positions(self, vectors: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.norm(vectors + self.positions.weight[: vectors.shape[1]]))
        return embedded


class Decoder(nn.Module):
    """Stack of decoder layers over token embeddings, with the sentence embedding at position 0.

    The decoder uses the encoder's token embeddings, so each call receives the encoder as ``backbone``.
    """

    def __init__(self, backbone: Backbone, num_layers: int) -> None:
        super().__init__()
        self.embeddings = DecoderEmbeddings(backbone)
        self.layers = nn.ModuleList(DecoderLayer(backbone.layer_config) for _ in range(num_layers))

    def forward(self, backbone: Backbone, embedding: Tensor, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states after the last layer: batch x length x hidden size.

        Args:
            backbone: Encoder that provides token embeddings.
            embedding: Sentence embeddings, batch x hidden size.
            ids: Token ids that the decoder reads, batch x length.
            attention_mask: bool, batch x length x length.
        """
        hidden = replace_first_token(self.embeddings.embed_tokens(backbone, ids), embedding)
        for layer in self.layers:
            hidden = layer(hidden, hidden, attention_mask)
        return hidden


class EnhancedDecoder(Decoder):
    """One-layer decoder of RetroMAE's enhanced decoding (Eq. 4 to 7)."""

    def __init__(self, backbone: Backbone, stream: QueryStream) -> None:
        super().__init__(backbone, num_layers=1)
        self.stream = stream

    def forward(self, backbone: Backbone, embedding: Tensor, ids: Tensor, attention_mask: Tensor) -> Tensor:
        queries = self.embeddings.embed_queries(backbone, embedding, ids.shape[1], self.stream)
        context = replace_first_token(self.embeddings.embed_tokens(backbone, ids), embedding)
        hidden: Tensor = self.layers[0](queries, context, attention_mask)
        return hidden


def replace_first_token(tokens: Tensor, embedding: Tensor) -> Tensor:
    """Return token vectors (batch x length x hidden size) with position 0 replaced by the sentence embedding."""
    return torch.cat([embedding[:, None].to(tokens.dtype), tokens[:, 1:]], dim=1)
