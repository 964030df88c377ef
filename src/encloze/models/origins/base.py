"""An origin: where a model that is to be trained comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from encloze.backbones.base import Backbone
from encloze.family import Family
from encloze.models.checkpoint import Card
from encloze.text.tokenizer import Tokenizer


class Start(NamedTuple):
    """A model as training finds it."""

    backbone: Backbone
    tokenizer: Tokenizer
    card: Card
    decoders: Path | None = None
    """The decoders that an earlier pre-training left, to go on with."""
    fingerprint: str = ""
    """Changes with the weights; empty where they are drawn from the seed."""
    heads: Path | None = None
    """What the heads of an earlier fine-tuning learnt of their own."""


@dataclass(frozen=True)
class Origin(Family):
    """Weights and a tokenizer; a bare word that is no member's name is a folder, a hub's id, or minilm."""

    otherwise: ClassVar[str | None] = "pretrained"

    def label(self) -> str:
        """A name for messages and for what a folder was made from."""
        return self.name

    def start(self, texts: Callable[[], Iterator[str]], *, need_head: bool, seed: int) -> Start:
        """The model. ``texts`` gives the training texts, for what is made from them."""
        raise NotImplementedError(type(self).__name__)
