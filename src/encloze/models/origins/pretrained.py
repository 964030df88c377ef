"""Origin that loads an existing model: a folder, an id on the Hugging Face hub, or minilm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from encloze.models.checkpoint import DECODERS, load_checkpoint, model_fingerprint, read_head_weights
from encloze.models.origins.base import InitialModel, Origin
from encloze.storage.model_folders import locate
from encloze.text.vocabulary_coverage import check_coverage


@dataclass(frozen=True)
class Pretrained(Origin, name="pretrained"):
    """An existing model: weights, tokenizer and encoding configuration of a checkpoint."""

    model: str
    """A model folder (of encloze, transformers or sentence-transformers), an id on the Hugging Face hub, or minilm."""

    def label(self) -> str:
        return self.model

    def load(self, texts: Callable[[], Iterator[str]], *, require_mlm_head: bool, seed: int) -> InitialModel:
        folder = locate(self.model)
        torch.manual_seed(seed)  # of a new MLM head
        backbone, tokenizer, config = load_checkpoint(folder, require_mlm_head=require_mlm_head)
        decoders = file if (file := folder / DECODERS).is_file() else None
        check_coverage(tokenizer, texts(), self.label())
        fingerprint = model_fingerprint(folder, config.plain(), tokenizer)
        return InitialModel(backbone, tokenizer, config, decoders, fingerprint, read_head_weights(folder) or None)
