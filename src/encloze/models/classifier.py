"""A classifier: an encoder with a head that tells the labels of texts, or of words, apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from encloze.backbones._classifying import load_labeller
from encloze.backbones._loading import quiet
from encloze.backbones.base import longest_input
from encloze.models.checkpoint import load_tokenizer
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision
from encloze.models.reading import Reading, read
from encloze.storage.model_folders import locate
from encloze.text.tokenizer import Tokenizer
from encloze.text.words import Marked

_USUAL_TOKENS = 512


class Classifier(nn.Module):
    """One of transformers' models for sequence or token classification, and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @classmethod
    def load(cls, name: str, labels: Sequence[str], *, of_words: bool, max_tokens: int | None = None) -> Classifier:
        """The classifier of a folder, or a hub's id, for these labels; an encoder that is none yet gets a new head.

        Raises CheckpointError, and ValueError where the encoder takes no texts of ``max_tokens``.
        """
        keep_buffers()
        folder = locate(name)
        tokenizer = load_tokenizer(folder)
        model = load_labeller(folder, "TokenClassification" if of_words else "SequenceClassification", labels)
        limit = longest_input(model.config, model.base_model)
        if max_tokens is not None and max_tokens > limit:
            raise ValueError(f"max_tokens is {max_tokens}, and {name} takes {limit} at most")
        return cls(model, tokenizer, max_tokens or min(_USUAL_TOKENS, limit)).eval()

    def forward(self, reading: Reading) -> Tensor:
        """Logits: float32, texts (or words that are read) x labels."""
        found = self.model(input_ids=reading.ids, attention_mask=reading.attention.long()).logits
        logits: Tensor = found if reading.places is None else reading.at_words(found)
        return logits.float()

    def guess(self, texts: Sequence[Marked], name: str, precision: Precision = "auto") -> np.ndarray:
        """The number of the likeliest label of each text, or of each word, -1 where nothing is seen of it: int64.

        ``name`` is what progress calls the texts.
        """
        self.eval()
        title = f"Judging on {name}"
        logits = read(texts, self, self.tokenizer, self.max_tokens, self.model.device, precision, title)
        seen = ~np.isnan(logits[:, 0])
        return np.where(seen, np.where(seen[:, None], logits, 0).argmax(axis=1), -1)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The encoder's, without a pooler: that is new in most, and learns with the head."""
        named = self.model.base_model.named_parameters()
        return [parameter for name, parameter in named if not name.startswith("pooler.")]

    def save(self, folder: Path) -> None:
        """Write a folder that transformers reads as it is."""
        with quiet():
            self.model.save_pretrained(folder)
        self.tokenizer.save(folder, self.max_tokens)
