"""A classifier: an encoder with a head that predicts one label for each text, or for each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from encloze.backbones.hf.classification import load_classifier
from encloze.backbones.hf.limits import max_input_tokens
from encloze.backbones.hf.loading import quiet_transformers
from encloze.backbones.hf.smaller_models import with_fewer_layers
from encloze.models.checkpoint import load_tokenizer
from encloze.models.classifier_inputs import ClassifierInput, run_in_batches
from encloze.models.precision import Precision
from encloze.storage.model_folders import locate
from encloze.text.labeled import LabeledTokens
from encloze.text.tokenizer import Tokenizer

_DEFAULT_TOKENS = 512


class Classifier(nn.Module):
    """A transformers model for sequence or token classification, and its tokenizer.

    Args:
        model: A ForSequenceClassification or ForTokenClassification model.
        tokenizer: Its tokenizer.
        max_tokens: The length to which texts are truncated.

    Example:
        >>> classifier = Classifier.load("minilm", ["sports", "politics"], of_words=False)
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    @classmethod
    def load(cls, name: str, labels: Sequence[str], *, of_words: bool, max_tokens: int | None = None) -> Classifier:
        """Load a classifier. An encoder without a classification head gets a randomly initialized one, with a note.

        Args:
            name: A model folder or an id on the Hugging Face hub.
            labels: The labels, in the order of the logits.
            of_words: True if each word has a label, False if each text has one label.
            max_tokens: The length to which texts are truncated; by default 512, or the encoder's limit if it is lower.

        Returns:
            The classifier in evaluation mode, on the CPU.

        Raises:
            CheckpointError: If there is no such model, or it is a classifier with other labels.
            ValueError: If ``max_tokens`` exceeds the limit of the encoder.
        """
        folder = locate(name)
        model = load_classifier(folder, "TokenClassification" if of_words else "SequenceClassification", labels)
        tokenizer = load_tokenizer(folder, model.base_model)
        limit = max_input_tokens(model.config, model.base_model)
        if max_tokens is not None and max_tokens > limit:
            raise ValueError(f"max_tokens is {max_tokens}, but {name} is limited to {limit} tokens. Lower max_tokens")
        return cls(model, tokenizer, max_tokens or min(_DEFAULT_TOKENS, limit, tokenizer.max_length or limit)).eval()

    def with_layers(self, count: int) -> Classifier:
        """Return a copy with ``count`` layers, evenly spaced. Raises ValueError if there are fewer layers."""
        return Classifier(with_fewer_layers(self.model, count), self.tokenizer, self.max_tokens)

    def forward(self, inputs: ClassifierInput) -> Tensor:
        """Return the logits of each text, or of each word (float32, texts or words x labels)."""
        output = self.model(input_ids=inputs.ids, attention_mask=inputs.attention_mask.long()).logits
        logits: Tensor = output if inputs.word_positions is None else inputs.select_words(output)
        return logits.float()

    def predict(self, texts: Sequence[LabeledTokens], name: str, precision: Precision = "auto") -> np.ndarray:
        """Predict the label of each text, or of each word.

        Args:
            texts: Tokenized texts.
            name: What the texts are, such as the name of their split, for the title of the progress bar.
            precision: Precision of matrix multiplications.

        Returns:
            Index of the predicted label of each text or word (int64); -1 for words that are truncated or have no token.
        """
        self.eval()
        title, device = f"Evaluating on {name}", self.model.device
        logits = run_in_batches(texts, self, self.tokenizer, self.max_tokens, device, precision, title)
        is_seen = ~np.isnan(logits[:, 0])
        return np.where(is_seen, np.where(is_seen[:, None], logits, 0).argmax(axis=1), -1)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder, except those of a pooler, which is newly initialized in most models."""
        parameters = self.model.base_model.named_parameters()
        return [parameter for name, parameter in parameters if not name.startswith("pooler.")]

    def save(self, folder: Path) -> None:
        """Write a model folder that transformers can load. The folder must exist."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
        self.tokenizer.save(folder, self.max_tokens)
