"""Encoding configuration of a bi-encoder: heads, prompts and length limits, as stored in encloze.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.errors import CheckpointError
from encloze.models.foreign_settings import is_of_sentence_transformers, read_encoder_settings
from encloze.models.heads.base import Head, Side
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.settings import plain
from encloze.similarity import Similarity
from encloze.storage.json_files import read_json, write_json

CONFIG_FILE = "encloze.json"
_VERSION = 1
_QUERY_TOKENS = 64  # limit of queries if no file sets one


@dataclass(frozen=True)
class EncoderConfig:
    """Encoding configuration of a bi-encoder: its heads, prompts and length limits.

    Args:
        heads: One dense head, one sparse head, or one of each.
        query_prompt: Text put in front of every query.
        document_prompt: Text put in front of every document.
        max_query_tokens: Maximum length of queries in tokens, including prompt and special tokens.
        max_document_tokens: Maximum length of documents in tokens, including prompt and special tokens.
        cosine: Whether the dense score is the cosine of embeddings that the dense head does not normalize, as in many
            models of sentence-transformers. By default it is their inner product.

    Raises:
        ValueError: If there is no head, or two heads of the same kind (dense or sparse), or a value has a wrong type.

    Example:
        >>> EncoderConfig((Dense("mean", normalize=True),), query_prompt="query: ")
    """

    heads: tuple[Head, ...] = field(default_factory=lambda: (Dense("cls", False),))
    query_prompt: str = ""
    document_prompt: str = ""
    max_query_tokens: int = 64
    max_document_tokens: int = 512
    cosine: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("query_prompt", str), ("document_prompt", str), ("cosine", bool)):
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name} must be of type {kind.__name__}, not {value!r}")
        for name in ("max_query_tokens", "max_document_tokens"):
            if not isinstance(value := getattr(self, name), int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of 1 or more, not {value!r}")
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
        """Similarity of queries and documents: the sum of the heads' scores, each times the head's weight."""
        return Similarity(**{head.view: head.weight for head in self.heads}, cosine=self.cosine)

    def normalized(self) -> EncoderConfig:
        """Return the configuration of the same scores whose dense head normalizes embeddings if scores are cosines."""
        if not self.cosine:
            return self
        heads = (replace(head, normalize=True) if isinstance(head, Dense) else head for head in self.heads)
        return replace(self, heads=tuple(heads), cosine=False)

    @property
    def needs_mlm_head(self) -> bool:
        """Whether a dense or sparse head needs the encoder's head for masked language modeling."""
        return any(head.needs_mlm_head for head in self.heads)

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain values; ``cosine`` and ``query_encoding`` are left out if not set."""
        values: dict[str, Any] = plain(self)
        unset = {"cosine": False, "query_encoding": None}
        parts = [values, *values["heads"]]
        for part, name in ((part, name) for part in parts for name in unset):
            if name in part and part[name] == unset[name]:
                del part[name]
        return values

    def write(self, folder: Path) -> None:
        """Write encloze.json."""
        write_json(folder / CONFIG_FILE, {"encloze": _VERSION, **self.plain()})

    @classmethod
    def read(cls, folder: Path, max_tokens: int, tokenizer_limit: int | None = None) -> EncoderConfig:
        """Read the configuration of a model folder.

        Args:
            folder: A folder that contains encloze.json or was written by sentence-transformers. For any other folder,
                CLS pooling without normalization is used, and a progress note says so.
            max_tokens: Maximum input length of the encoder in tokens.
            tokenizer_limit: Maximum input length that the files of the tokenizer set (``model_max_length``); None if
                they set none.

        Returns:
            The configuration.

        Raises:
            CheckpointError: If a file is malformed, or has a field that encloze does not support.
        """
        if (folder / CONFIG_FILE).is_file():
            return cls._read_own(folder / CONFIG_FILE)
        limit = min(max_tokens, tokenizer_limit or max_tokens)
        if is_of_sentence_transformers(folder):
            settings = read_encoder_settings(folder)
            limits = [settings.max_query_tokens or limit, settings.max_document_tokens or limit]
            if max(limits) > max_tokens:
                progress.warn(
                    f"{folder.name} sets a length limit of {max(limits):,} tokens (max_seq_length, query_length or "
                    f"document_length), but its encoder is limited to {max_tokens:,}: this limit is used"
                )
            head: Head = Dense(settings.pooling, settings.normalize)
            if settings.term_pooling:
                head = Sparse(pooling=settings.term_pooling)
            elif settings.projection:
                _, dim, bias, activation = settings.projection
                head = Dense(settings.pooling, settings.normalize, dim, bias, activation)
            return cls(
                (head,),
                settings.query_prompt,
                settings.document_prompt,
                min(limits[0], max_tokens),
                min(limits[1], max_tokens),
                settings.cosine,
            )
        progress.note(f"{folder.name} does not specify a pooling method: CLS pooling is used")
        return cls((Dense("cls", False),), max_query_tokens=min(_QUERY_TOKENS, limit), max_document_tokens=limit)

    @classmethod
    def _read_own(cls, file: Path) -> EncoderConfig:
        """Read an encloze.json."""
        try:
            values = dict(read_json(file))
            if (version := values.pop("encloze", _VERSION)) != _VERSION:
                raise ValueError(f"encloze is {version!r}, but this version of encloze reads {_VERSION}")
            heads = (dict(head) for head in values.pop("heads"))
            return cls(tuple(Head.member(head.pop("type"))(**head) for head in heads), **values)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{file} is malformed: {error}. Correct it, or restore the file written by encloze"
            ) from error


def states_pooling(folder: Path) -> bool:
    """Return whether the files of a model folder state how texts are pooled to embeddings."""
    return (folder / CONFIG_FILE).is_file() or is_of_sentence_transformers(folder)
