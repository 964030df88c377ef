"""transformers' encoders with a head of one kind on top; a head that is missing is made and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from encloze import progress
from encloze.backbones._loading import loading
from encloze.errors import CheckpointError

HeadKind = Literal["SequenceClassification", "TokenClassification"]


def load_with_head(folder: Path, kind: HeadKind, prepare: Callable[[Any], None], what: str) -> Any:
    """The model of a kind in a folder, in float32; a new head is drawn from torch's generator.

    ``prepare`` changes the configuration, or refuses it; ``what`` says what a head of this kind does. Raises
    CheckpointError.
    """
    import transformers

    classes, known = {
        "SequenceClassification": (
            transformers.AutoModelForSequenceClassification,
            transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        ),
        "TokenClassification": (
            transformers.AutoModelForTokenClassification,
            transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        ),
    }[kind]
    with loading(folder):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if type(config) not in known:
            raise CheckpointError(
                f"transformers has no class that {what} with an encoder of type {config.model_type!r}"
            )
        prepare(config)
        model, report = classes.from_pretrained(folder, config=config, dtype=torch.float32, output_loading_info=True)
    inside = f"{model.base_model_prefix}."
    missing = [name for name in report["missing_keys"] if "position_ids" not in name and ".pooler." not in name]
    if encoder := [name for name in missing if name.startswith(inside)]:
        raise CheckpointError(f"{folder} lacks weights of its encoder: {', '.join(encoder[:3])}")
    if missing:
        progress.note(f"{folder.name} has no head that {what}: it gets a new one")
    return model
