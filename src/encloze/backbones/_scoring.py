"""transformers' encoders with a head for one number, which reads a query and a document together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encloze.backbones._heads import load_with_head
from encloze.errors import CheckpointError


def load_scorer(folder: Path) -> Any:
    """The sequence-classification model in a folder, with one label; a missing head is made and said.

    A new head is drawn from torch's generator. Raises CheckpointError, also where the head there is for more labels.
    """

    def prepare(config: Any) -> None:
        if is_scorer(config.architectures) and config.num_labels != 1:
            raise CheckpointError(
                f"{folder} sorts texts into {config.num_labels} classes; a re-ranker gives one number"
            )
        config.num_labels = 1

    return load_with_head(folder, "SequenceClassification", prepare, "scores")


def is_scorer(architectures: list[str] | None) -> bool:
    """Whether what a configuration says of its model is that it classifies sequences."""
    return any(name.endswith("ForSequenceClassification") for name in architectures or [])
