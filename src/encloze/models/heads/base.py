"""Base class of heads, which compute the embedding or the term weights of a text from the encoder's hidden states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.family import Family
from encloze.text.encoding import Side as Side
from encloze.text.tokens import PaddedTexts


class TextBatch(NamedTuple):
    """A padded batch of texts as tensors of shape batch x length."""

    ids: Tensor
    """Token ids (int64)."""
    attention_mask: Tensor
    """True for all tokens except padding (bool)."""
    own_tokens: Tensor
    """True for the tokens of the text itself, False for special tokens, padding and the prompt (bool)."""

    @classmethod
    def from_padded(cls, padded: PaddedTexts, device: torch.device, own: np.ndarray) -> TextBatch:
        """Return padded texts as tensors on a device; ``own`` is what the function ``own_tokens`` returns for them."""
        arrays = (padded.ids, padded.attention_mask, own)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    @property
    def content_mask(self) -> Tensor:
        """Mask that is True for all tokens except special tokens, padding and the prompt (bool, batch x length).

        For a text that has no other tokens, the mask is True for all tokens except padding.
        """
        return self.own_tokens | (self.attention_mask & ~self.own_tokens.any(dim=1, keepdim=True))


class HeadInput(NamedTuple):
    """A batch of texts with the encoder's last hidden states."""

    texts: TextBatch
    hidden: Tensor | None
    """Hidden states (float, batch x length x hidden size); None if no head of the model needs them."""


@dataclass(frozen=True)
class Head(Family):
    """Base class of heads, which compute the embedding or the term weights of a text from the encoder's hidden states.

    A head is an immutable dataclass of settings. Its trainable parameters, if any, are in the module that
    ``build_module`` returns.
    """

    view: ClassVar[Literal["dense", "sparse"]]
    """What the head computes for each text. ``dense``: an embedding (a vector of fixed size). ``sparse``: term weights,
    one for each token of the vocabulary, most of them 0."""
    needs_mlm_head: ClassVar[bool] = False
    """Whether this head uses the logits of the encoder's head for masked language modeling."""

    weight: float = field(default=1.0, kw_only=True)
    """Weight of this head's inner product in the similarity score; must be above 0."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, not {self.weight}")

    @property
    def differs_by_side(self) -> bool:
        """Whether queries and documents are encoded in different ways: some ``query_x`` differs from ``document_x``."""
        settings = {name.removeprefix("query_") for name in vars(self) if name.startswith("query_")}
        return any(getattr(self, f"query_{name}") != getattr(self, f"document_{name}") for name in settings)

    def with_defaults(self, other: Any) -> Self:
        """Return this head, with each setting that is None replaced by a value.

        The value is copied from ``other``, the dense head that the model had before fine-tuning. If the model had none
        (``other`` is None), the value is a constant default.
        """
        return self

    def build_module(self, backbone: Backbone) -> nn.Module | None:
        """Return a randomly initialized module with this head's parameters; None if the head has no parameters."""
        return None

    def needs_hidden_states(self, side: Side) -> bool:
        """Return whether this head needs the encoder's hidden states for queries or documents, as ``side`` selects."""
        return True

    def represent(self, inputs: HeadInput, side: Side, backbone: Backbone, module: nn.Module | None) -> Tensor:
        """Compute the embedding or the term weights of each text.

        Args:
            inputs: The texts and their hidden states.
            side: Whether the texts are queries or documents.
            backbone: The encoder.
            module: The module that ``build_module`` returned.

        Returns:
            Embeddings (float32, batch x dim) or term weights (float32, batch x vocabulary).
        """
        raise NotImplementedError(type(self).__name__)

    def prune(self, view: Tensor, side: Side, *, training: bool) -> Tensor:
        """Return ``view`` (embeddings or term weights of texts), with the values that scores do not use set to 0.

        A sparse head, for example, keeps only the k largest term weights of each text. By default ``view`` does not
        change.
        """
        return view
