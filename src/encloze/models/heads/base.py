"""A head: hidden states in, one view of the text out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.family import Family
from encloze.text.tokens import Padded

Side = Literal["query", "document"]


class Texts(NamedTuple):
    """Texts as tensors. Shapes: batch, length."""

    ids: Tensor  # int64, batch x length
    attention: Tensor  # bool, batch x length: no padding
    own: Tensor  # bool, batch x length: no special token either, and none of a prompt

    @classmethod
    def of(cls, padded: Padded, device: torch.device, prompt: np.ndarray | None = None) -> Texts:
        """``prompt`` are the token ids that texts begin with and that are not their own; those that differ are."""
        own = padded.words >= 0
        if prompt is not None and len(prompt):
            begun = padded.ids[:, 1 : len(prompt) + 1]
            own[:, 1 : len(prompt) + 1] &= ~np.logical_and.accumulate(begun == prompt[: begun.shape[1]], axis=1)
        return cls(*(torch.from_numpy(array).to(device) for array in (padded.ids, padded.attention, own)))

    @property
    def speaking(self) -> Tensor:
        """The text's own tokens; all real ones where it has none: bool, batch x length."""
        return self.own | (self.attention & ~self.own.any(dim=1, keepdim=True))


class Read(NamedTuple):
    """Texts and what the encoder made of them. Shapes: batch, length, width."""

    texts: Texts
    hidden: Tensor | None  # float, batch x length x width; None where no head asks for it


@dataclass(frozen=True)
class Head(Family):
    """What a bi-encoder makes of the last hidden states: a dense or a sparse view, and what it counts in a score."""

    view: ClassVar[Literal["dense", "sparse"]]
    """Vectors of the width, compared with FAISS; or of the vocabulary, mostly 0, compared with an inverted index."""
    needs_vocabulary: ClassVar[bool] = False
    """Whether the encoder must have its head for masked language modelling."""

    weight: float = field(default=1.0, kw_only=True)
    """What this view's inner product counts in the sum that is a score."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, not {self.weight}")

    def like(self, other: Any) -> Self:
        """This head with what it leaves open taken from another one of the same kind, the checkpoint's."""
        return self

    def part(self, backbone: Backbone) -> nn.Module | None:
        """What it learns of its own, with random weights from torch's generator; None where it has nothing."""
        return None

    def reads_hidden(self, side: Side) -> bool:
        """Whether texts must be encoded for it."""
        return True

    def represent(self, read: Read, side: Side, backbone: Backbone, part: nn.Module | None) -> Tensor:
        """The view of each text: float32, batch x size."""
        raise NotImplementedError(type(self).__name__)

    def kept(self, view: Tensor, side: Side, *, training: bool) -> Tensor:
        """What of a view counts in a score: batch x size."""
        return view
