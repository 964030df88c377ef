"""A model that is there already: a folder, a hub's id, or minilm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from encloze.backbones.base import Backbone
from encloze.models.checkpoint import DECODERS, HEADS, Card, load_tokenizer, model_fingerprint
from encloze.models.origins.base import Origin, Start
from encloze.storage.model_folders import locate


@dataclass(frozen=True)
class Pretrained(Origin, name="pretrained"):
    """Weights, tokenizer and pooling of a checkpoint."""

    model: str
    """A model folder (of encloze, transformers or sentence-transformers), a hub's id, or minilm."""

    def label(self) -> str:
        return self.model

    def start(self, texts: Callable[[], Iterator[str]], *, need_head: bool, seed: int) -> Start:
        folder = locate(self.model)
        torch.manual_seed(seed)  # a head that is missing is drawn from it
        backbone = Backbone.load(folder, need_head=need_head)
        card = Card.read(folder, backbone.max_tokens)
        decoders, heads = (file if (file := folder / name).is_file() else None for name in (DECODERS, HEADS))
        tokenizer = load_tokenizer(folder)
        return Start(backbone, tokenizer, card, decoders, model_fingerprint(folder, card, tokenizer), heads)
