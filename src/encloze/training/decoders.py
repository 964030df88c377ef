"""Loading of decoder weights of an earlier pre-training, from which another pre-training starts."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from encloze import progress
from encloze.models.checkpoint import read_weights
from encloze.models.pretraining_module import PretrainingModule


def load_decoders(module: PretrainingModule, file: Path) -> None:
    """Load the weights of the decoders whose parameters have the same names and shapes in ``file`` as in ``module``.

    All other decoders of the module are unchanged.

    Args:
        module: Module of the pre-training objective, changed in place.
        file: ``decoders.safetensors`` of an earlier pre-training.
    """
    decoders = _by_decoder(module.decoder_state())
    if not decoders:
        return
    saved = _by_decoder(read_weights(file))
    matching = [name for name in decoders if name in saved and _shapes(decoders[name]) == _shapes(saved[name])]
    module.load_state_dict({key: value for name in matching for key, value in saved[name].items()}, strict=False)
    if matching:
        progress.note(f"Loaded the decoders of the earlier pre-training: {', '.join(matching)}")
    if missing := [name for name in decoders if name not in matching]:
        progress.note(
            "The checkpoint has no matching weights for these decoders, which are initialized randomly: "
            f"{', '.join(missing)}"
        )


def _by_decoder(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group parameters by decoder. The name of a parameter begins with the name of its decoder and a dot."""
    names = sorted(state, key=_decoder_of)
    return {decoder: {name: state[name] for name in group} for decoder, group in groupby(names, key=_decoder_of)}


def _decoder_of(name: str) -> str:
    return name.partition(".")[0]


def _shapes(parameters: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in parameters.items()}
