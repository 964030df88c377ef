"""Features of a frozen encoder: embeddings of texts or hidden states of words, cached on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.data.records import LabeledText
from encloze.models.checkpoint import load_checkpoint, model_fingerprint
from encloze.models.classifier_inputs import ClassifierInput, run_in_batches
from encloze.models.device import resolve_device
from encloze.models.layers.pooling import Pooling, pool
from encloze.models.precision import DTYPES, Precision, resolve_precision
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import cached_file
from encloze.storage.hashes import hash_of
from encloze.storage.model_folders import locate
from encloze.text.labeled import LabeledTokens
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder that is not trained. Its embeddings or hidden states are input features of probes (small classifiers).

    Args:
        name: The model folder, Hugging Face id or ``minilm`` that the encoder was loaded from.
        backbone: The encoder, in evaluation mode.
        tokenizer: The encoder's tokenizer.
        pooling: Pooling method of text embeddings: cls, mean or max.
        max_tokens: The length in tokens to which texts are truncated.
        fingerprint: A hash of the encoder's weights, tokenizer and encoding configuration.
        precision: Precision of matrix multiplications.

    Example:
        >>> encoder = FrozenEncoder.load("minilm", pooling="mean")
    """

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
        """Load an encoder on the first GPU, or on the CPU if there is no GPU.

        Args:
            name: A model folder, an id on the Hugging Face hub, or ``minilm``.
            pooling: cls, mean or max; by default the pooling method of the checkpoint.
            max_tokens: The length in tokens to which texts are truncated; by default the checkpoint's limit for
                documents.
            precision: Precision of matrix multiplications.

        Returns:
            The encoder.

        Raises:
            CheckpointError: If no model is found under ``name``.
            ValueError: If ``max_tokens`` exceeds the limit of the encoder.
        """
        folder = locate(name)
        backbone, tokenizer, config = load_checkpoint(folder, require_mlm_head=False)
        if max_tokens is not None and max_tokens > backbone.max_tokens:
            raise ValueError(f"max_tokens is {max_tokens}, but {name} is limited to {backbone.max_tokens} tokens")
        pooling = pooling or (config.dense.pooling if config.dense else None) or "cls"
        limit = max_tokens or config.max_document_tokens
        fingerprint = model_fingerprint(folder, config.plain(), tokenizer)
        return cls(name, backbone.to(resolve_device()).eval(), tokenizer, pooling, limit, fingerprint, precision)

    def cached_features(self, examples: Sequence[LabeledText], texts: Sequence[LabeledTokens], name: str) -> np.ndarray:
        """Return the features of texts. They are read from the cache folder, or computed and saved there if missing.

        Args:
            examples: The labeled texts; their hash is part of the name of the file in the cache folder.
            texts: The texts of ``examples``, tokenized.
            name: Description of the texts, which progress reports show after "Encoding".

        Returns:
            If whole texts are labeled: the embedding of each text (float32, texts x hidden size). If words are labeled:
            the hidden state of the first token of each word (float32, words x hidden size). The row of a word that
            was truncated or has no token is NaN.
        """
        precision = resolve_precision(self.precision, self.backbone.model.device)
        settings = (self.pooling, self.max_tokens, precision, self.fingerprint)
        key = hash_of((settings, [(example.text, example.words) for example in examples]))[:32]
        file = cache_folder() / "features" / f"{key}.npy"
        return np.asarray(np.load(cached_file(file, lambda path: np.save(path, self.compute_features(texts, name)))))

    def compute_features(self, texts: Sequence[LabeledTokens], name: str) -> np.ndarray:
        """Compute the features of texts, without reading or writing the cache folder.

        The arguments and the result are those of ``cached_features``.
        """
        device = self.backbone.model.device
        title = f"Encoding {name}"
        return run_in_batches(texts, self._features, self.tokenizer, self.max_tokens, device, self.precision, title)

    def _features(self, inputs: ClassifierInput) -> Tensor:
        dtype = DTYPES[resolve_precision(self.precision, inputs.ids.device)]
        hidden = self.backbone.encode_for_inference(inputs.ids, inputs.attention_mask, dtype)
        is_pooled = inputs.word_positions is None
        return pool(hidden, inputs.attention_mask, self.pooling) if is_pooled else inputs.select_words(hidden)
