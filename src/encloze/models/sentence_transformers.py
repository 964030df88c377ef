"""Write the files with which sentence-transformers loads a model folder and computes the vectors of encloze."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from encloze.models.encoder_config import EncoderConfig
from encloze.models.folder_fields import MODULES_FILE
from encloze.models.foreign_settings import ACTIVATION_CLASSES
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.storage.json_files import write_json

_DENSE = "sentence_transformers.models."
_SPARSE = "sentence_transformers.sparse_encoder.models."
"""Module paths that versions 2 to 6 (sparse: 5 and 6) of sentence-transformers resolve."""
_ACTIVATIONS = {"identity": ACTIVATION_CLASSES["identity"], "tanh": "torch.nn.modules.activation.Tanh"}


def unsupported_settings(head: Head) -> dict[str, Any]:
    """Return the settings of a head that sentence-transformers does not have, with their values.

    It has all settings of dense heads but static queries. Of sparse heads, it has only the pooling.
    """
    if isinstance(head, Dense):
        return {"query_encoding": head.query_encoding} if head.differs_by_side else {}
    if not isinstance(head, Sparse):
        return {"type": head.name}
    supported = Sparse(pooling=head.pooling)
    return {name: value for name, value in vars(head).items() if value != getattr(supported, name)}


def is_expressible(config: EncoderConfig) -> bool:
    """Return whether sentence-transformers can compute the same scores as encloze.

    It can if the model has only a dense head, or only a sparse head without settings other than its pooling.
    """
    return len(config.heads) == 1 and not unsupported_settings(config.heads[0])


def write_sentence_transformers_files(
    folder: Path, config: EncoderConfig, hidden_size: int, head_weights: Mapping[str, Tensor]
) -> bool:
    """Write modules, pooling, projection, prompts and length limit in the layout of sentence-transformers.

    sentence-transformers 5 has a single length limit. The limit of documents is written, because the limit of queries
    may be lower and would truncate documents.

    Args:
        folder: A model folder that already contains the tokenizer and the model files of transformers.
        config: Encoding configuration of the model.
        hidden_size: Number of dimensions of the encoder.
        head_weights: Weights of the heads.

    Returns:
        Whether the files were written; False if sentence-transformers cannot compute the model's scores.

    Example:
        >>> from encloze.models.heads.dense import Dense
        >>> write_sentence_transformers_files(folder, EncoderConfig((Dense("mean", True),)), 384, {})
        True
    """
    if not is_expressible(config):
        return False
    (head,) = config.heads
    if isinstance(head, Dense):
        similarity = "cosine" if head.normalize or config.cosine else "dot"
        modules = _dense_modules(folder, head, hidden_size, head_weights)
        kinds = [f"{_DENSE}Transformer", *(f"{_DENSE}{path[2:]}" for path in modules)]
    else:
        assert isinstance(head, Sparse)  # see ``is_expressible``
        similarity = "dot"
        modules = {"1_SpladePooling": {"pooling_strategy": head.pooling, "activation_function": "relu"}}
        kinds = [f"{_SPARSE}MLMTransformer", f"{_SPARSE}SpladePooling"]
    for path, settings in modules.items():
        (folder / path).mkdir(exist_ok=True)
        if settings:
            write_json(folder / path / "config.json", settings)
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(zip(["", *modules], kinds, strict=True))
    ]
    write_json(folder / MODULES_FILE, entries)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": config.max_document_tokens, "do_lower_case": False}
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            **({} if isinstance(head, Dense) else {"model_type": "SparseEncoder"}),
            "prompts": {"query": config.query_prompt, "document": config.document_prompt},
            "default_prompt_name": None,
            "similarity_fn_name": similarity,
        },
    )
    return True


def _dense_modules(
    folder: Path, head: Dense, hidden_size: int, head_weights: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """Return the subfolders of the modules after the transformer, with their settings. Write the projection."""
    pooling = head.pooling or "cls"
    modules: dict[str, dict[str, Any]] = {
        "1_Pooling": {
            "word_embedding_dimension": hidden_size,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
            "include_prompt": True,
        }
    }
    if head.dim:
        modules["2_Dense"] = {
            "in_features": hidden_size,
            "out_features": head.dim,
            "bias": head.bias,
            "activation_function": _ACTIVATIONS[head.activation],
        }
        (folder / "2_Dense").mkdir(exist_ok=True)
        of_head = {name: weight for name, weight in head_weights.items() if name.startswith("dense.")}
        weights = {name.replace("dense", "linear"): weight.contiguous() for name, weight in of_head.items()}
        save_file(weights, str(folder / "2_Dense" / "model.safetensors"))
    if head.normalize:
        modules[f"{len(modules) + 1}_Normalize"] = {}
    return modules
