"""Checks of a model folder's files and weights, before and after transformers loads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypedDict

from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json

_SHOWN_NAMES = 3
_MAX_GAP = 1024  # of unused ids below a token without an embedding
_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_UNUSED = re.compile(r"(^|\.)(pooler\.|(position_ids|token_type_ids|inv_freq)$)")
"""Weights that an encoder without task head does not use, and buffers that older versions of transformers saved."""
_TASK_HEADS = frozenset(
    "classification_head classifier cls decoder discriminator_predictions generator_lm_head generator_predictions head "
    "lm_head lm_loss lm_predictions logits_proj mask_predictions mlm_head pooler pre_classifier pred_layer "
    "predictions qa_outputs score sequence_summary sop_classifier splinter_qass vocab_layer_norm vocab_projector "
    "vocab_transform".split()
)
"""Names of task heads in transformers. An encoder that is loaded without its task head leaves these weights out."""


class WeightIndex(TypedDict):
    """Content of an index of weight files."""

    weight_map: dict[str, str]


def load_config(folder: Path) -> Any:
    """Read the config.json of a model folder with transformers. Code from the folder is never run.

    Args:
        folder: A model folder in the layout of transformers.

    Raises:
        CheckpointError: If the folder contains an adapter or quantized weights, or names weights outside of itself.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    values = read_json(folder / "config.json")
    if "auto_map" in values and values.get("model_type") not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{folder / 'config.json'}: auto_map names code in the folder, which encloze never runs, and transformers "
            f"has no model of the type {values.get('model_type')!r}. Use a model that transformers supports by itself"
        )
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} contains an adapter (adapter_config.json), which encloze does not support. Merge it into its "
            "base model, and save the merged model"
        )
    for name in _INDEX_FILES:
        if (folder / name).is_file():
            _check_index(folder / name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if getattr(config, "quantization_config", None):
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config is set, but encloze does not support quantized weights. "
            "Use the model with its original weights"
        )
    config.return_dict = True  # changes only the type of outputs
    return config


def load_weights(auto_class: Any, folder: Path, config: Any, dtype: Any) -> tuple[Any, list[str]]:
    """Load a model with an auto class of transformers, and check the weights against its configuration.

    Args:
        auto_class: An auto class of transformers, such as ``AutoModel``.
        folder: The model folder.
        config: The configuration, which ``load_config`` read.
        dtype: The data type of the weights.

    Returns:
        The model, and the names of missing weights of its task head and pooler, which are initialized randomly.

    Raises:
        CheckpointError: If weights of the encoder are missing, or weights have other shapes than config.json implies,
            or there are weights that neither the encoder nor a known task head has.
    """
    model, report = auto_class.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report, from which the error names them
        trust_remote_code=False,
    )
    if report["mismatched_keys"]:
        name, found, expected = sorted(report["mismatched_keys"])[0]
        raise CheckpointError(
            f"{folder}: the weight {name} has the shape {_shape(found)}, but config.json implies {_shape(expected)}. "
            "Restore config.json and the weights from the same version of the model"
        )
    prefix = f"{model.base_model_prefix}."
    is_encoder = model.base_model is model
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
    of_encoder = [name for name in missing if (is_encoder or name.startswith(prefix)) and not _UNUSED.search(name)]
    if of_encoder:
        raise CheckpointError(
            f"{folder} lacks weights of the encoder: {_first(of_encoder)}. Download it again, or correct config.json"
        )
    if unexpected := _superfluous(model, report["unexpected_keys"], prefix):
        raise CheckpointError(
            f"{folder} has weights that its config.json does not describe: {_first(unexpected)}. They would "
            "not be used. Correct config.json, for example num_hidden_layers, or remove the weights"
        )
    return model, missing


def check_tokens(folder: Path, token_of: Callable[[int], str | None], count: int, rows: int) -> None:
    """Raise CheckpointError if a token has no row in the embedding matrix.

    Args:
        folder: The model folder, named in the message.
        token_of: Function that returns the token with an id; None if there is none. All tokens in a dictionary would
            take longer than loading a small model.
        count: Number of tokens.
        rows: Number of rows of the embedding matrix.
    """
    for number in range(rows, max(rows, count) + _MAX_GAP):
        if (token := token_of(number)) is not None:
            raise CheckpointError(
                f"{folder}: the tokenizer has the token {token!r} with the id {number}, but the model has embeddings "
                f"of {rows} tokens only. Use the tokenizer of this model, or resize the model's token embeddings"
            )


def _check_index(file: Path) -> None:
    """Raise CheckpointError if an index of weight files names a file outside of its folder."""
    for name in read_json(file, WeightIndex)["weight_map"].values():
        if name != Path(name).name or "\\" in name:
            raise CheckpointError(
                f"{file}: weight_map names {name!r}, which is not a file of this folder. Download the model again"
            )


def _superfluous(model: Any, names: Collection[str], prefix: str) -> list[str]:
    """Return the sorted names of weights that neither the encoder nor a known task head has."""
    if not names:
        return []
    own = {_numberless(name.removeprefix(prefix)) for name in model.base_model.state_dict()}
    parts = {name.partition(".")[0] for name in own}
    found = []
    for name in sorted(names):
        inner = name.removeprefix(prefix)
        part = inner.partition(".")[0]
        is_of_encoder = name.startswith(prefix) or part in parts
        is_head = part in _TASK_HEADS and _numberless(inner) not in own
        if not _UNUSED.search(name) and (is_of_encoder or not is_head):
            found.append(name)
    known = _weights_of_architecture(model.config) if found else set[str]()
    return [name for name in found if name not in known]


def _weights_of_architecture(config: Any) -> set[str]:
    """Return the names of the weights of the class that ``architectures`` in config.json names, if it is known."""
    import torch
    import transformers

    kind = getattr(transformers, str((config.architectures or [""])[0]), None)
    if not isinstance(kind, type) or not issubclass(kind, transformers.PreTrainedModel):
        return set()
    with torch.device("meta"):
        return set(kind(config).state_dict())


def _numberless(name: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", name)


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {len(names) - _SHOWN_NAMES} more" * (len(names) > _SHOWN_NAMES))
