"""Write the files with which sentence-transformers loads a model folder and computes the embeddings of encloze."""

from __future__ import annotations

from pathlib import Path

from encloze.models.encoder_config import EncoderConfig
from encloze.models.folder_fields import MODULES_FILE
from encloze.storage.json_files import write_json

_TYPE = "sentence_transformers.models."
"""Module path that versions 2 to 6 of sentence-transformers resolve."""


def is_expressible(config: EncoderConfig) -> bool:
    """Return whether sentence-transformers can compute the same scores as encloze.

    It can if the model has only one head, and this is a dense head without projection.
    """
    return len(config.heads) == 1 and config.dense is not None and config.dense.dim is None


def write_sentence_transformers_files(folder: Path, config: EncoderConfig, hidden_size: int) -> bool:
    """Write modules, pooling, prompts and length limit in the layout of sentence-transformers.

    sentence-transformers has a single length limit. The limit of documents is written, because the limit of queries may
    be lower and would truncate documents.

    Args:
        folder: A model folder that already contains the tokenizer and the model files of transformers.
        config: Encoding configuration of the model.
        hidden_size: Number of dimensions of the encoder.

    Returns:
        Whether the files were written; False if sentence-transformers cannot compute the model's scores.

    Example:
        >>> from encloze.models.heads.dense import Dense
        >>> write_sentence_transformers_files(folder, EncoderConfig((Dense("mean", True),)), 384)
        True
    """
    if not is_expressible(config):
        return False
    assert config.dense is not None
    names = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] * bool(config.dense.normalize)),
    ]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_TYPE}{kind}"}
        for number, (path, kind) in enumerate(names)
    ]
    pooling = config.dense.pooling or "cls"
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(folder / MODULES_FILE, modules)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": config.max_document_tokens, "do_lower_case": False}
    )
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden_size,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
            "include_prompt": True,
        },
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": config.query_prompt, "document": config.document_prompt},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine" if config.dense.normalize or config.cosine else "dot",
        },
    )
    return True
