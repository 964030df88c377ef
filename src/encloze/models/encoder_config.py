"""Encoding configuration of a bi-encoder: heads, prompts and length limits, as stored in encloze.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.errors import CheckpointError
from encloze.models.heads.base import Head, Side
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling
from encloze.settings import plain
from encloze.similarity import Similarity
from encloze.storage.json_files import read_json, write_json

CONFIG_FILE = "encloze.json"
_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max")


@dataclass(frozen=True)
class EncoderConfig:
    """Encoding configuration of a bi-encoder: its heads, prompts and length limits.

    Args:
        heads: One dense head, one sparse head, or one of each.
        query_prompt: Text put in front of every query.
        document_prompt: Text put in front of every document.
        max_query_tokens: Maximum length of queries in tokens, including prompt and special tokens.
        max_document_tokens: Maximum length of documents in tokens, including prompt and special tokens.

    Raises:
        ValueError: If there is no head, or two heads of the same kind (dense or sparse).

    Example:
        >>> EncoderConfig((Dense("mean", normalize=True),), query_prompt="query: ")
    """

    heads: tuple[Head, ...] = field(default_factory=lambda: (Dense("cls", False),))
    query_prompt: str = ""
    document_prompt: str = ""
    max_query_tokens: int = 64
    max_document_tokens: int = 512

    def __post_init__(self) -> None:
        views = [head.view for head in self.heads]
        if not views or len(set(views)) < len(views):
            names = ", ".join(head.name for head in self.heads) or "none"
            raise ValueError(f"heads must be one dense head, one sparse head, or one of each, not {names}")

    @property
    def dense(self) -> Dense | None:
        """The dense head, or None."""
        return next((head for head in self.heads if isinstance(head, Dense)), None)

    def prompt(self, side: Side) -> str:
        """Return the text put in front of queries or of documents, as ``side`` selects."""
        return {"query": self.query_prompt, "document": self.document_prompt}[side]

    def max_tokens(self, side: Side) -> int:
        """Return the maximum length of queries or of documents in tokens, as ``side`` selects."""
        return {"query": self.max_query_tokens, "document": self.max_document_tokens}[side]

    @property
    def similarity(self) -> Similarity:
        """Similarity of queries and documents: the sum of the heads' inner products, each times the head's weight."""
        return Similarity(**{head.view: head.weight for head in self.heads})

    @property
    def needs_mlm_head(self) -> bool:
        """Whether a dense or sparse head needs the encoder's head for masked language modeling."""
        return any(head.needs_mlm_head for head in self.heads)

    def write(self, folder: Path) -> None:
        """Write encloze.json."""
        write_json(folder / CONFIG_FILE, {"encloze": 1, **plain(self)})

    @classmethod
    def read(cls, folder: Path, max_tokens: int) -> EncoderConfig:
        """Read the configuration of a model folder.

        Args:
            folder: A folder that contains encloze.json or was written by sentence-transformers. For any other folder,
                CLS pooling without normalization is used, and a progress note says so.
            max_tokens: Maximum input length of the encoder in tokens.

        Returns:
            The configuration.

        Raises:
            CheckpointError: If a file is malformed, or the sentence-transformers model has unsupported modules.
        """
        if (folder / CONFIG_FILE).is_file():
            values = {key: value for key, value in read_json(folder / CONFIG_FILE).items() if key != "encloze"}
            try:
                heads = (dict(head) for head in values.pop("heads"))
                return cls(tuple(Head.member(head.pop("type"))(**head) for head in heads), **values)
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{folder / CONFIG_FILE} is malformed: {error}. Correct it, or restore the file written by encloze"
                ) from error
        if (folder / "modules.json").is_file():
            return _read_sentence_transformers(folder, max_tokens)
        progress.note(f"{folder.name} does not specify a pooling method: CLS pooling is used")
        return cls((Dense("cls", False),), max_query_tokens=min(64, max_tokens), max_document_tokens=max_tokens)


def _read_sentence_transformers(folder: Path, max_tokens: int) -> EncoderConfig:
    """Read the encoding configuration from a model folder written by any version of sentence-transformers."""
    modules = [(module["type"].rpartition(".")[2], module["path"]) for module in read_json(folder / "modules.json")]
    if unknown := [kind for kind, _ in modules if kind not in _MODULES]:
        raise CheckpointError(
            f"{folder} has sentence-transformers modules that encloze does not support: {', '.join(unknown)}. Use a "
            f"model with the modules {', '.join(_MODULES)} only"
        )
    settings: dict[str, Any] = next(
        (read_json(folder / path / "config.json") for kind, path in modules if kind == "Pooling"), {}
    )
    pooling = _pooling(settings)
    if pooling is None:
        raise CheckpointError(
            f"{folder} uses a pooling method that encloze does not support: {settings}. Use a model with cls, mean or "
            "max pooling"
        )
    limits = [max_tokens]
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (folder / file).is_file():
            limits.append(int(read_json(folder / file).get(key) or max_tokens))
    prompts: dict[str, str] = {}
    if (folder / "config_sentence_transformers.json").is_file():
        prompts = read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    if any(prompts.values()) and settings.get("include_prompt") is False:
        raise CheckpointError(
            f"{folder} excludes prompts from pooling (include_prompt is false), which encloze does not support. Use a "
            "model that includes prompts in pooling, or a model without prompts"
        )
    return EncoderConfig(
        (Dense(pooling, any(kind == "Normalize" for kind, _ in modules)),),
        query_prompt=prompts.get("query", ""),
        document_prompt=prompts.get("document", prompts.get("passage", "")),
        max_query_tokens=min(limits),
        max_document_tokens=min(limits),
    )


def _pooling(settings: dict[str, Any]) -> Pooling | None:
    """Return the pooling method in the config.json of a Pooling module; None if encloze does not support it."""
    mode = settings.get("pooling_mode")
    flags = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}  # of older versions
    modes = [mode] if mode else [mode for key, mode in flags.items() if settings.get(f"pooling_mode_{key}")]
    set_flags = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    if len(modes) == 1 and len(set_flags) <= 1:
        return next((pooling for pooling in _POOLINGS if pooling == modes[0]), None)
    return None
