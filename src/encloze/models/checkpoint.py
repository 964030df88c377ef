"""What encloze keeps in a model folder beside transformers' files: how texts become representations."""

from __future__ import annotations

import hashlib
import json
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
from encloze.storage.hashes import hash_file
from encloze.storage.json_files import read_json, write_json
from encloze.text.tokenizer import Tokenizer

CARD = "encloze.json"
DECODERS = "decoders.safetensors"
HEADS = "heads.safetensors"


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of how texts become representations."""

    heads: tuple[Head, ...] = field(default_factory=lambda: (Dense("cls", False),))
    query_prompt: str = ""
    document_prompt: str = ""
    max_query_tokens: int = 64
    max_document_tokens: int = 512

    def __post_init__(self) -> None:
        views = [head.view for head in self.heads]
        if not views or len(set(views)) < len(views):
            names = ", ".join(head.name for head in self.heads)
            raise ValueError(f"a text has one dense view, one sparse view, or both, not {names or 'none'}")

    @property
    def dense(self) -> Dense | None:
        """The head that makes embeddings."""
        return next((head for head in self.heads if isinstance(head, Dense)), None)

    def prompt(self, side: Side) -> str:
        """What stands before every query, or before every document."""
        return {"query": self.query_prompt, "document": self.document_prompt}[side]

    def limit(self, side: Side) -> int:
        """How many tokens queries, or documents, are cut to."""
        return {"query": self.max_query_tokens, "document": self.max_document_tokens}[side]

    @property
    def similarity(self) -> Similarity:
        """How two texts are scored."""
        return Similarity(**{head.view: head.weight for head in self.heads})

    @property
    def needs_vocabulary(self) -> bool:
        """Whether the encoder must have its head for masked language modelling."""
        return any(head.needs_vocabulary for head in self.heads)

    def write(self, folder: Path) -> None:
        write_json(folder / CARD, {"encloze": 1, **plain(self)})

    @classmethod
    def read(cls, folder: Path, max_tokens: int) -> Card:
        """The card of a folder of encloze or sentence-transformers; of any other, CLS pooling, which is said."""
        if (folder / CARD).is_file():
            values = {key: value for key, value in read_json(folder / CARD).items() if key != "encloze"}
            try:
                heads = (dict(head) for head in values.pop("heads"))
                return cls(tuple(Head.member(head.pop("type"))(**head) for head in heads), **values)
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(f"{folder / CARD} is not as encloze writes it: {error}") from error
        if (folder / "modules.json").is_file():
            return _sentence_transformers_card(folder, max_tokens)
        progress.note(f"{folder.name} does not say how it is pooled: the first token's vector is taken")
        return cls((Dense("cls", False),), max_query_tokens=min(64, max_tokens), max_document_tokens=max_tokens)


def model_fingerprint(folder: Path, card: Card, tokenizer: Tokenizer) -> str:
    """Changes with the weights, the tokenizer or the card: with anything that changes a representation."""
    files = [file for kind in ("*.safetensors", "*.bin", "config.json") for file in sorted(folder.glob(kind))]
    weights = [hash_file(file) for file in files if file.name != DECODERS]
    parts = [weights, tokenizer.fingerprint, plain(card)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def model_card(name: str, how: str, besides: dict[str, str], purpose: str = "feature-extraction") -> str:
    """The README.md of a model folder: how it was made, in a few words, and what each file is.

    ``purpose`` is what the Hugging Face hub calls the model's task.
    """
    embeds = {"`encloze.json`": "how a text becomes an embedding (pooling, length 1 or not, prompts, limits)"}
    files = {
        **(embeds if purpose == "feature-extraction" else {}),
        "`recipe.yaml`": "every setting it was made with; `encloze again` repeats it",
        "`inputs.json`, `versions.json`": "hashes of what it was made from, and versions of the packages",
        **besides,
    }
    lines = "".join(f"- {file}: {what}\n" for file, what in files.items())
    head = f"---\nlibrary_name: encloze\npipeline_tag: {purpose}\n---\n\n"
    return f"{head}# {name}\n\nA text encoder, {how}.\n\n{lines}"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer of a folder; one that has only the older files is converted by transformers.

    Raises CheckpointError, also where it would be code of the folder's own: that is not run.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.load(folder)
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        files = set(found.vocab_files_names.values())
        if files and not any((folder / name).is_file() for name in files):  # transformers 5 makes up an empty one
            raise FileNotFoundError(f"there is no {' and no '.join(sorted(files - {'tokenizer.json'}))} either")
    except Exception as error:  # the classes are many, and each misses its files and packages in its own way
        why = str(error).strip().partition("\n")[0].rstrip(" :") or type(error).__name__
        raise CheckpointError(
            f"{folder} has no tokenizer.json, and no tokenizer of another kind that can be loaded ({why}). "
            "Save the model's fast tokenizer there"
        ) from error
    try:
        return Tokenizer.wrapping(found)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} has no tokenizer.json: {error}") from error


def _sentence_transformers_card(folder: Path, max_tokens: int) -> Card:
    """The card that sentence-transformers' files amount to; old and new layouts."""
    modules = [(module["type"].rpartition(".")[2], module["path"]) for module in read_json(folder / "modules.json")]
    unknown = [kind for kind, _ in modules if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown:
        raise CheckpointError(f"{folder} has parts that encloze does not read yet: {', '.join(unknown)}")
    settings: dict[str, Any] = next(
        (read_json(folder / path / "config.json") for k, path in modules if k == "Pooling"), {}
    )
    pooling = _pooling(settings)
    if pooling is None:
        raise CheckpointError(f"{folder} is pooled in a way that encloze does not know: {settings}")
    limits = [max_tokens]
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (folder / file).is_file():
            limits.append(int(read_json(folder / file).get(key) or max_tokens))
    prompts: dict[str, str] = {}
    if (folder / "config_sentence_transformers.json").is_file():
        prompts = read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    if any(prompts.values()) and settings.get("include_prompt") is False:
        raise CheckpointError(f"{folder} leaves its prompts out of the pooling, which encloze does not do yet")
    return Card(
        (Dense(pooling, any(kind == "Normalize" for kind, _ in modules)),),
        query_prompt=prompts.get("query", ""),
        document_prompt=prompts.get("document", prompts.get("passage", "")),
        max_query_tokens=min(limits),
        max_document_tokens=min(limits),
    )


def _pooling(settings: dict[str, Any]) -> Pooling | None:
    named = settings.get("pooling_mode")
    old = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    chosen = [named] if named else [mode for key, mode in old.items() if settings.get(f"pooling_mode_{key}")]
    others = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) == 1 and len(others) <= 1:
        known: tuple[Pooling, ...] = ("cls", "mean", "max")
        return next((mode for mode in known if mode == chosen[0]), None)
    return None
