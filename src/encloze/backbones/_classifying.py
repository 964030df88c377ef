"""transformers' encoders with a head for the labels of texts, or of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encloze.backbones._heads import HeadKind, load_with_head
from encloze.errors import CheckpointError


def load_labeller(folder: Path, kind: HeadKind, labels: Sequence[str]) -> Any:
    """The model that classifies texts (or tokens) in a folder, for these labels; a missing head is made and said.

    Raises CheckpointError, also where there is a head for something else.
    """

    def prepare(config: Any) -> None:
        names = [config.id2label[number] for number in sorted(config.id2label)]
        for made in config.architectures or []:
            if "Classification" in made and (not made.endswith(kind) or names != list(labels)):
                raise CheckpointError(
                    f"{folder} is a {made} already, for other labels ({_some(names)}) than the data has "
                    f"({_some(labels)}). Start from the encoder that it was made from"
                )
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}

    return load_with_head(folder, kind, prepare, "tells labels apart")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", ..." * (len(names) > 5)
