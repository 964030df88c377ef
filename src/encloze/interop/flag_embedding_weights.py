"""Read the weights of RetroMAE decoders from folders that FlagEmbedding or encloze wrote."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from encloze import recipe
from encloze.errors import CheckpointError
from encloze.models.checkpoint import DECODERS, read_weights
from encloze.models.encoder_config import EncoderConfig
from encloze.storage.model_folders import ENCODER_FOLDER

WEIGHTS_FILE = "pytorch_model.bin"
# From names in decoders.safetensors of encloze to names in pytorch_model.bin of FlagEmbedding.
_PREFIXES = {"decoder.layers.0.": "c_head.", "decoder.embeddings.": "embeddings."}


def read_decoder(folder: Path) -> dict[str, Tensor] | None:
    """Return RetroMAE weights, keyed by FlagEmbedding's parameter names; None without a compatible decoder.

    Args:
        folder: A folder written by FlagEmbedding (the weights of encoder and decoder are returned) or by encloze (only
            the weights of the decoder are returned).

    Raises:
        CheckpointError: If pytorch_model.bin is damaged or contains more than weights.
    """
    if (folder / ENCODER_FOLDER).is_dir():
        file = folder / WEIGHTS_FILE
        return _read_state_dict(file) if file.is_file() else None
    if not (folder / DECODERS).is_file() or not _is_compatible(folder):
        return None
    weights = read_weights(folder / DECODERS)
    renamed = {
        new + name.removeprefix(old): value
        for name, value in weights.items()
        for old, new in _PREFIXES.items()
        if name.startswith(old)
    }
    return renamed if any(name.startswith("c_head.") for name in renamed) else None


def load_decoder(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load weights that have FlagEmbedding's parameter names into a RetroMAEForPretraining.

    Args:
        model: The model. The weights of its encoder may be missing from ``weights``; they are then not changed.
        weights: Result of ``read_decoder``.
        folder: The folder of the weights, for error messages.

    Raises:
        CheckpointError: If weights of the decoder are missing, or a weight has an unknown name or a different shape.
    """
    # FlagEmbedding's class registers the embeddings of the encoder a second time; position_ids are not weights.
    relevant = {n: v for n, v in weights.items() if not n.startswith("decoder_embeddings.") and "position_ids" not in n}
    own = model.state_dict()
    faults = {
        "missing": [name for name in own if name not in relevant and not name.startswith("lm.")],
        "unknown": [name for name in relevant if name not in own],
        "different shape": [n for n, value in relevant.items() if n in own and own[n].shape != value.shape],
    }
    if any(faults.values()):
        listed = "; ".join(f"{fault}: {', '.join(names[:3])}" for fault, names in faults.items() if names)
        raise CheckpointError(
            f"{folder} contains an incompatible RetroMAE model ({listed}). Give a folder written by save_pretrained of "
            f"FlagEmbedding or encloze. To train its encoder with a new decoder, give its subfolder {ENCODER_FOLDER}"
        )
    model.load_state_dict(relevant, strict=False)


def _is_compatible(folder: Path) -> bool:
    """Return whether the decoder of an encloze folder is equivalent to FlagEmbedding's.

    Other variants of RetroMAE have weights with the same names and shapes, but compute with them differently.
    """
    file = folder / "recipe.yaml"
    objective = recipe.read(file).get("objective") if file.is_file() else None
    if not isinstance(objective, dict):
        return False
    dense = EncoderConfig.read(folder, 512).dense
    return (
        objective.get("type") in ("retromae", "dupmae")
        and objective.get("decoding", "enhanced") == "enhanced"
        and objective.get("query_stream", "normalized") == "normalized"
        and dense is not None
        and dense.pooling == "cls"
    )


def _read_state_dict(file: Path) -> dict[str, Tensor]:
    """Read a state_dict that was saved with torch.save. Pickled code in the file is not executed."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        what = f" (it refers to {match[1]})" if match else ""
        raise CheckpointError(
            f"{file} is damaged or contains more than weights{what}. It was not loaded, because such a file can run "
            "code. Save state_dict() only"
        ) from error
    except Exception as error:  # a damaged file can raise any exception
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{file} is damaged: {reason}. Download it again") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{file} does not contain a state_dict() of tensors by name. Save state_dict() only")
    return weights
