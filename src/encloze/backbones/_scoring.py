"""transformers' encoders with a head for one number, which reads a query and a document together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from encloze import progress
from encloze.backbones._loading import loading
from encloze.errors import CheckpointError


def load_scorer(folder: Path) -> Any:
    """The sequence-classification model in a folder, with one label; a missing head is made and said.

    A new head is drawn from torch's generator. Raises CheckpointError, also where the head there is for more labels.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as KNOWN
    from transformers import AutoConfig, AutoModelForSequenceClassification

    with loading(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if type(config) not in KNOWN:
            raise CheckpointError(
                f"transformers has no class that scores with an encoder of type {config.model_type!r}"
            )
        is_one = is_scorer(config.architectures)
        if is_one and config.num_labels != 1:
            raise CheckpointError(
                f"{folder} sorts texts into {config.num_labels} classes; a re-ranker gives one number"
            )
        config.num_labels = 1
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True
        )
    inside = f"{model.base_model_prefix}."
    missing = [name for name in report["missing_keys"] if "position_ids" not in name and ".pooler." not in name]
    if encoder := [name for name in missing if name.startswith(inside)]:
        raise CheckpointError(f"{folder} lacks weights of its encoder: {', '.join(encoder[:3])}")
    if missing:
        progress.note(f"{folder.name} has no head that scores: it gets a new one")
    return model


def is_scorer(architectures: list[str] | None) -> bool:
    """Whether what a configuration says of its model is that it classifies sequences."""
    return any(name.endswith("ForSequenceClassification") for name in architectures or [])
