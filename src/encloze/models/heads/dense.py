"""Dense head: one embedding for each text, by pooling, an optional projection and optional L2 normalization.

Queries may be encoded without the encoder, by the mean of learned embeddings of their tokens, as in models of static
embeddings (model2vec, https://github.com/MinishLab/model2vec).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads.base import Head, HeadInput, Side
from encloze.models.layers.pooling import Pooling, pool

TOKEN_WEIGHTS = "query_embeddings.weight"
"""End of the name of the head weights with a row for each token of the vocabulary."""


@dataclass(frozen=True)
class Dense(Head, name="dense"):
    """One embedding for each text. It has the encoder's hidden size, or ``dim`` dimensions if ``dim`` is set."""

    view: ClassVar[Literal["dense", "sparse"]] = "dense"

    pooling: Pooling | None = None
    """Pooling method: cls (first token), mean or max over all tokens. By default the method of the checkpoint. A
    model must be fine-tuned before another method can be used."""
    normalize: bool | None = None
    """Whether embeddings are L2-normalized, so that inner products are cosine similarities. By default as in the
    checkpoint."""
    dim: int | None = None
    """Number of dimensions after a learned linear projection. By default there is no projection."""
    bias: bool = False
    """Whether the projection adds a bias, as in some models of sentence-transformers."""
    activation: Literal["identity", "tanh"] = "identity"
    """Function of the numbers after the projection."""
    query_encoding: Literal["encoder", "static"] | None = None
    """How queries are encoded. encoder: as documents. static: by the mean of learned embeddings of their tokens, so
    that queries need no encoder (inference-free); encloze distill trains them. By default as in the checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in (None, *get_args(Pooling)):
            raise ValueError(f"pooling must be {', '.join(get_args(Pooling))}, not {self.pooling!r}")
        if not isinstance(self.normalize, bool | None):
            raise ValueError(f"normalize must be true or false, not {self.normalize!r}")
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"dim must be 1 or more, not {self.dim}")
        if self.query_encoding not in (None, "encoder", "static"):
            raise ValueError(f"query_encoding must be encoder or static, not {self.query_encoding!r}")
        if self.activation not in ("identity", "tanh"):
            raise ValueError(f"activation must be identity or tanh, not {self.activation!r}")
        if self.dim is None and (self.bias or self.activation != "identity"):
            raise ValueError("bias and activation belong to a projection, and dim is not set")

    def with_defaults(self, other: Any) -> Dense:
        known = other if isinstance(other, Dense) else Dense("cls", False)
        projection = self if self.dim else known
        return replace(
            self,
            pooling=self.pooling or known.pooling or "cls",
            normalize=bool(known.normalize) if self.normalize is None else self.normalize,
            dim=projection.dim,
            bias=projection.bias,
            activation=projection.activation,
            query_encoding=self.query_encoding or known.query_encoding,
        )

    @property
    def differs_by_side(self) -> bool:
        """Whether queries are encoded in another way than documents."""
        return self.query_encoding == "static"

    def needs_hidden_states(self, side: Side) -> bool:
        return side == "document" or self.query_encoding != "static"

    def build_module(self, backbone: Backbone) -> nn.Module | None:
        projection = self._build_projection(backbone)
        if self.query_encoding != "static":
            return projection
        embeddings = nn.Embedding(int(backbone.config.vocab_size), self.dim or backbone.hidden_size)
        nn.init.normal_(embeddings.weight, std=backbone.hidden_size**-0.5)
        parts = {"projection": projection, "query_embeddings": embeddings}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def _build_projection(self, backbone: Backbone) -> nn.Linear | None:
        if self.dim is None:
            return None
        projection = nn.Linear(backbone.hidden_size, self.dim, bias=self.bias)
        nn.init.normal_(projection.weight, std=backbone.hidden_size**-0.5)  # keeps the norm of vectors on average
        if self.bias:
            nn.init.zeros_(projection.bias)
        return projection

    def represent(self, inputs: HeadInput, side: Side, backbone: Backbone, module: nn.Module | None) -> Tensor:
        if isinstance(module, nn.ModuleDict):  # with static queries
            parts = dict(module.items())
            if side == "query":
                return self._normalized(_mean_of_tokens(inputs, parts["query_embeddings"]))
            module = parts.get("projection")
        assert inputs.hidden is not None
        pooled = pool(inputs.hidden, inputs.texts.attention_mask, self.pooling or "cls")
        vectors = (pooled if module is None else module(pooled)).to(torch.promote_types(pooled.dtype, torch.float32))
        return self._normalized(vectors.tanh() if self.activation == "tanh" else vectors)

    def _normalized(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.normalize else vectors


def _mean_of_tokens(inputs: HeadInput, embeddings: nn.Module) -> Tensor:
    """Return the mean of the embeddings of the tokens of each text, without special tokens and prompt: batch x dim."""
    mask = inputs.texts.content_mask.unsqueeze(-1)
    vectors: Tensor = embeddings(inputs.texts.ids)
    return (vectors * mask).sum(dim=1) / mask.sum(dim=1)
