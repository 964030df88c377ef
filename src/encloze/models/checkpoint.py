"""Files that encloze adds to a model folder, the folder's tokenizer, and the fingerprint of the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from encloze.errors import CheckpointError
from encloze.models.encoder_config import EncoderConfig
from encloze.settings import plain
from encloze.storage.hashes import hash_file
from encloze.text.tokenizer import Tokenizer

DECODERS = "decoders.safetensors"
"""Weights of the decoders of pre-training."""
HEADS = "heads.safetensors"
"""Weights of the heads, such as the projection of a dense head."""


def model_fingerprint(folder: Path, config: EncoderConfig, tokenizer: Tokenizer) -> str:
    """Return a hash of what determines embeddings and term weights: model weights, tokenizer and configuration.

    Args:
        folder: The model folder.
        config: The model's encoding configuration.
        tokenizer: The model's tokenizer.

    Returns:
        16 hexadecimal digits.
    """
    files = [file for pattern in ("*.safetensors", "*.bin", "config.json") for file in sorted(folder.glob(pattern))]
    weights = [hash_file(file) for file in files if file.name != DECODERS]
    values = [weights, tokenizer.fingerprint, plain(config)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the fast tokenizer of a model folder.

    Args:
        folder: A folder with tokenizer.json, or with older vocabulary files that transformers can convert.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: If there is no tokenizer, or only a tokenizer that needs Python code from the folder. Such code
            is never executed.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        files = set(tokenizer.vocab_files_names.values())
        if files and not any((folder / name).is_file() for name in files):  # transformers 5 creates an empty tokenizer
            raise FileNotFoundError(f"the folder also lacks {' and '.join(sorted(files - {'tokenizer.json'}))}")
    except Exception as error:  # each tokenizer class raises exceptions of its own
        reason = str(error).strip().partition("\n")[0].rstrip(" :") or type(error).__name__
        raise CheckpointError(
            f"{folder} has no tokenizer.json and no other tokenizer that can be loaded ({reason}). Save the model's "
            "fast tokenizer there"
        ) from error
    try:
        return Tokenizer.from_transformers(tokenizer)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} has no tokenizer.json: {error}") from error
