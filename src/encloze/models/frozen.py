"""An encoder as it is: what its hidden states say of texts, or of their words, worked out once and kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.data.records import Labelled
from encloze.models.checkpoint import Card, load_tokenizer, model_fingerprint
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision, resolved
from encloze.models.reading import Reading, read
from encloze.storage.cache import cache_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.hashes import hash_of
from encloze.storage.model_folders import locate
from encloze.text.tokenizer import Tokenizer
from encloze.text.words import Marked


@dataclass(frozen=True)
class FrozenEncoder:
    """A backbone with its tokenizer, and how its hidden states become features."""

    name: str
    backbone: Backbone
    tokenizer: Tokenizer
    pooling: Pooling
    max_tokens: int
    fingerprint: str
    precision: Precision

    @classmethod
    def load(
        cls, name: str, pooling: Pooling | None = None, max_tokens: int | None = None, precision: Precision = "auto"
    ) -> FrozenEncoder:
        """The encoder of a folder, a hub's id, or ``minilm``; pooling and limit are the checkpoint's where not given.

        Raises CheckpointError, and ValueError where the encoder takes no texts of ``max_tokens``.
        """
        keep_buffers()
        folder = locate(name)
        backbone, tokenizer = Backbone.load(folder, need_head=False), load_tokenizer(folder)
        card = Card.read(folder, backbone.max_tokens)
        if max_tokens is not None and max_tokens > backbone.max_tokens:
            raise ValueError(f"max_tokens is {max_tokens}, and {name} takes {backbone.max_tokens} at most")
        pooling = pooling or (card.dense.pooling if card.dense else None) or "cls"
        limit = max_tokens or card.max_document_tokens
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        fingerprint = model_fingerprint(folder, card, tokenizer)
        return cls(name, backbone.to(place).eval(), tokenizer, pooling, limit, fingerprint, precision)

    def features(self, examples: Sequence[Labelled], texts: Sequence[Marked], name: str) -> np.ndarray:
        """Pooled vectors of texts, or hidden states of words' first tokens: float32, labels x width.

        NaN where a word was not seen. ``texts`` are the tokenised examples, ``name`` is what progress calls them. Found
        in the cache where they were asked for before.
        """
        place = self.backbone.model.device
        how = (self.pooling, self.max_tokens, resolved(self.precision, place), self.fingerprint)
        key = hash_of((how, [(example.text, example.words) for example in examples]))[:32]
        file = cache_folder() / "features" / f"{key}.npy"
        if not file.exists():
            title = f"Reading {name}"
            found = read(texts, self._features, self.tokenizer, self.max_tokens, place, self.precision, title)
            partial = file.with_name(f".{key}.{os.getpid()}.npy")
            try:
                with explain_write_errors(file):
                    file.parent.mkdir(exist_ok=True)
                    np.save(partial, found)
                    partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
        return np.asarray(np.load(file))

    def _features(self, reading: Reading) -> Tensor:
        hidden = self.backbone.encode(reading.ids, reading.attention)
        return pool(hidden, reading.attention, self.pooling) if reading.places is None else reading.at_words(hidden)
