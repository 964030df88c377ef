"""Load transformers encoders with a classification or regression head on top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from encloze import progress
from encloze.backbones.hf.loading import loading
from encloze.backbones.hf.weights import load_config, load_weights
from encloze.errors import CheckpointError

HeadType = Literal["SequenceClassification", "TokenClassification"]
"""The suffix of the names of transformers' model classes."""


def load_classifier(folder: Path, head_type: HeadType, labels: Sequence[str]) -> Any:
    """Load a sequence or token classification model for a fixed set of labels.

    A model without a classification head gets a randomly initialized one (torch's global generator), and a progress
    note reports it.

    Args:
        folder: A model folder in the layout of transformers.
        head_type: Classify whole texts (``"SequenceClassification"``) or tokens (``"TokenClassification"``).
        labels: The names of the labels, in the order of the logits.

    Returns:
        A transformers model in float32.

    Raises:
        CheckpointError: If the folder cannot be loaded, or holds a classifier of another type or with other labels.

    Example:
        >>> model = load_classifier(Path("my_encoder"), "TokenClassification", ["O", "B-CITY", "I-CITY"])
    """

    def set_labels(config: Any) -> None:
        names = [config.id2label[number] for number in sorted(config.id2label)]
        for architecture in config.architectures or []:
            is_classifier = "Classification" in architecture
            if is_classifier and (not architecture.endswith(head_type) or names != list(labels)):
                raise CheckpointError(
                    f"{folder} is already a {architecture} with the labels {_first_names(names)}, but the dataset has "
                    f"the labels {_first_names(labels)}. Start from the encoder that it was fine-tuned from"
                )
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}

    return _load_with_head(folder, head_type, set_labels, "classification")


def load_cross_encoder(folder: Path) -> Any:
    """Load a sequence classification model with a single logit, the score of a query and a document.

    A model without a classification head gets a randomly initialized one (torch's global generator), and a progress
    note reports it.

    Args:
        folder: A model folder in the layout of transformers.

    Returns:
        A transformers model in float32 with ``config.num_labels == 1``.

    Raises:
        CheckpointError: If the folder cannot be loaded, or holds a classifier with two or more labels.

    Example:
        >>> model = load_cross_encoder(Path("my_reranker"))
    """

    def set_one_label(config: Any) -> None:
        if is_sequence_classifier(config.architectures) and config.num_labels != 1:
            raise CheckpointError(
                f"{folder} is a classifier with {config.num_labels} labels, but a re-ranker has one output. Use a "
                "re-ranker, or an encoder without a classification head"
            )
        config.num_labels = 1

    return _load_with_head(folder, "SequenceClassification", set_one_label, "scoring")


def is_sequence_classifier(architectures: list[str] | None) -> bool:
    """Return whether ``architectures`` of a config.json names a sequence classification model."""
    return any(name.endswith("ForSequenceClassification") for name in architectures or [])


def _load_with_head(folder: Path, head_type: HeadType, adapt_config: Callable[[Any], None], purpose: str) -> Any:
    """Load a transformers model with a head of the type ``head_type``, initialized randomly if the folder lacks it.

    ``adapt_config`` changes the model's configuration, or raises an error if the model is unsuitable. ``purpose``
    names the kind of head in messages, such as ``scoring``.
    """
    import transformers

    auto_class, supported_configs = {
        "SequenceClassification": (
            transformers.AutoModelForSequenceClassification,
            transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        ),
        "TokenClassification": (
            transformers.AutoModelForTokenClassification,
            transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        ),
    }[head_type]
    with loading(folder):
        config = load_config(folder)
        if type(config) not in supported_configs:
            raise CheckpointError(
                f"{folder}: transformers has no {head_type} class for encoders of type {config.model_type!r}. Use "
                "another encoder"
            )
        adapt_config(config)
        model, missing = load_weights(auto_class, folder, config, torch.float32)
    if missing and any(name.endswith(f"For{head_type}") for name in config.architectures or []):
        raise CheckpointError(
            f"{folder} lacks weights of its {purpose} head: {', '.join(missing[:3])}. Download it again, or start from "
            "the encoder that it was fine-tuned from"
        )
    if any(".pooler." not in name for name in missing):
        progress.note(f"{folder.name} has no {purpose} head: a new one is initialized randomly")
    return model


def _first_names(names: Sequence[str]) -> str:
    return f"({', '.join(names[:5])}{', ...' * (len(names) > 5)})"
