"""A head: hidden states in, one kind of representation out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from encloze.family import Family


@dataclass(frozen=True)
class Head(Family):
    """What a bi-encoder makes of the last hidden states."""

    def represent(self, hidden: Tensor, attention: Tensor) -> Tensor:
        """The representations: batch x size, of hidden (batch x length x width) and attention (batch x length)."""
        raise NotImplementedError(type(self).__name__)
