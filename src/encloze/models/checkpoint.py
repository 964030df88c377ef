"""Files that encloze adds to a model folder, the folder's tokenizer, and the fingerprint of the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from encloze.backbones.base import Backbone
from encloze.backbones.hf.loading import quiet_transformers
from encloze.backbones.hf.weights import check_tokens
from encloze.errors import CheckpointError
from encloze.models.encoder_config import CONFIG_FILE, EncoderConfig, states_pooling
from encloze.models.folder_fields import check_tokenizer
from encloze.models.foreign_settings import is_of_sentence_transformers, read_encoder_settings, reads_lower_case
from encloze.storage.hashes import hash_file
from encloze.storage.model_folders import ENCODER_FOLDER
from encloze.text.tokenizer import Tokenizer

DECODERS = "decoders.safetensors"
"""Weights of the decoders of pre-training."""
HEADS = "heads.safetensors"
"""Weights of the heads, such as the projection of a dense head."""


def model_fingerprint(folder: Path, settings: dict[str, Any], tokenizer: Tokenizer) -> str:
    """Return a hash of what determines embeddings, term weights and scores: weights, tokenizer and settings.

    Args:
        folder: The model folder.
        settings: How the model encodes or scores texts, as JSON values.
        tokenizer: The model's tokenizer.

    Returns:
        16 hexadecimal digits.
    """
    patterns = "*.safetensors", "*.bin", "config.json", "*_Dense/model.safetensors"
    files = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
    weights = [hash_file(file) for file in files if file.name != DECODERS]
    values = [weights, tokenizer.fingerprint, settings]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises CheckpointError if it is damaged."""
    try:
        return load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged: {error}. Restore the file") from error


def read_head_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of the heads in a model folder, of encloze or of sentence-transformers; empty without such.

    Raises:
        CheckpointError: A file is damaged.
    """
    if (folder / HEADS).is_file():
        return read_weights(folder / HEADS)
    if (folder / CONFIG_FILE).is_file() or not is_of_sentence_transformers(folder):
        return {}
    projection = read_encoder_settings(folder).projection
    if projection is None:
        return {}
    return {name.replace("linear", "dense"): weight for name, weight in read_weights(projection.file).items()}


class Checkpoint(NamedTuple):
    """The parts of a model folder from which a bi-encoder is built."""

    backbone: Backbone
    tokenizer: Tokenizer
    config: EncoderConfig


def load_checkpoint(folder: Path, *, require_mlm_head: bool) -> Checkpoint:
    """Load encoder, tokenizer and encoding configuration of a model folder, and check that they fit each other.

    Args:
        folder: A model folder of encloze, sentence-transformers or transformers.
        require_mlm_head: Whether a missing head for masked language modeling is added (see ``Backbone.load``).

    Raises:
        CheckpointError: If the folder is incomplete or damaged, or a file has a field that encloze does not support.
    """
    backbone = Backbone.load(folder, require_mlm_head=require_mlm_head)
    tokenizer = load_tokenizer(folder, backbone.encoder)
    if tokenizer.has_token_types and backbone.has_token_types and tokenizer.template.token_type_ids != {0}:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: the post_processor gives a single text other token types than 0, which "
            "encloze does not support. Use a tokenizer whose texts have token type 0"
        )
    config = EncoderConfig.read(folder, backbone.max_tokens, tokenizer.max_length)
    if (limit := min(config.max_query_tokens, config.max_document_tokens)) < tokenizer.num_special_tokens:
        raise CheckpointError(
            f"{folder} limits texts to {limit} tokens, but its tokenizer adds {tokenizer.num_special_tokens} special "
            "tokens. Raise the limit in its files"
        )
    if not states_pooling(folder) and backbone.is_causal():
        raise CheckpointError(
            f"{folder} is a decoder ({backbone.config.model_type}), whose tokens do not see the tokens after them, and "
            "no file of it states a pooling method. Use an encoder, or a folder of sentence-transformers (modules.json)"
        )
    return Checkpoint(backbone, tokenizer, config)


def load_tokenizer(folder: Path, encoder: Any) -> Tokenizer:
    """Load the tokenizer of a model folder with transformers, and check it.

    Args:
        folder: A folder with tokenizer.json, or with older vocabulary files that transformers can convert. If it is the
            encoder of FlagEmbedding's RetroMAE, the tokenizer may be in the folder above.
        encoder: The transformers encoder of the folder, which must have an embedding for each token.

    Returns:
        The tokenizer. It lower-cases texts if the folder is of sentence-transformers and sets ``do_lower_case``.

    Raises:
        CheckpointError: If there is no tokenizer, or only a tokenizer that needs Python code from the folder (such code
            is never executed), or a field of its files is not supported, or a token has no embedding.
    """
    from transformers import AutoTokenizer

    if folder.name == ENCODER_FOLDER and not (folder / "tokenizer.json").is_file():
        folder = folder.parent if (folder.parent / "tokenizer.json").is_file() else folder
    try:
        with quiet_transformers():
            loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        files = set(loaded.vocab_files_names.values())
        if files and not any((folder / name).is_file() for name in files | {"tokenizer.json"}):
            # transformers 5 creates an empty tokenizer
            raise FileNotFoundError(f"the folder also lacks {' and '.join(sorted(files - {'tokenizer.json'}))}")
    except Exception as error:  # each tokenizer class raises exceptions of its own
        reason = str(error).strip().partition("\n")[0].rstrip(" :") or type(error).__name__
        fault = "has no tokenizer.json and no other tokenizer that can be loaded"
        if (folder / "tokenizer.json").is_file():
            fault = "has a tokenizer.json that transformers cannot load"
        raise CheckpointError(f"{folder} {fault} ({reason}). Save the model's fast tokenizer there") from error
    check_tokenizer(folder, loaded)
    try:
        tokenizer = Tokenizer.from_transformers(loaded, copy=False)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} has no tokenizer.json: {error}") from error
    if reads_lower_case(folder):
        tokenizer.lower_case()
    tokenizer.special_id("pad")  # raises CheckpointError
    rows = encoder.get_input_embeddings().weight.shape[0]
    check_tokens(folder, tokenizer.backend.id_to_token, tokenizer.vocab_size, rows)
    return tokenizer
