"""A tokenizer: text to token ids, with the places where words start, from a tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tokenizers

from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json, write_json

LONGEST_WORD = 12
_AT_ONCE = 256  # texts: what tokenizers says of each token takes some 150 bytes for as long as they are together
"""A word of more pieces than this counts as so many words of one piece: scripts without blanks between words
(Thai, Japanese) would otherwise make a sentence one word, which whole-word masking could never choose."""

Role = Literal["pad", "unknown", "first", "last", "mask"]
"""What a special token is for."""

KEYS = {  # where files keep the special tokens, by what they are for
    "pad": ("pad_token",),
    "unknown": ("unk_token",),
    "first": ("cls_token", "bos_token"),
    "last": ("sep_token", "eos_token"),
    "mask": ("mask_token",),
}


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text without special tokens, and where words start."""

    ids: np.ndarray  # int32, length
    starts: np.ndarray  # bool, length: this token starts a word


class Frame(NamedTuple):
    """What a tokenizer puts around two texts that are read together."""

    around: tuple[Edge, Edge, Edge]
    """Before the first, between the two, after the second."""
    types: tuple[int, int]
    """What it says of the first text's tokens, and of the second's."""


class Edge(NamedTuple):
    """Special tokens that stand together."""

    ids: list[int]
    types: list[int]


class Tokenizer:
    """A fast tokenizer and the ids of its special tokens; ``files`` are what is saved of it, verbatim."""

    def __init__(self, core: tokenizers.Tokenizer, special: dict[str, str], config: dict[str, Any]) -> None:
        core.no_padding()  # some published files pad and cut every text to the length they were trained at
        core.no_truncation()
        self.core, self.special, self.config = core, special, config

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` and the names of the special tokens beside it."""
        if not (folder / "tokenizer.json").is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json. Save the model's fast tokenizer there")
        try:
            core = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises nothing narrower
            raise CheckpointError(f"{folder / 'tokenizer.json'} is no tokenizer: {error}. Save it again") from error
        config: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                config |= read_json(folder / name)
        special = {}
        for role, keys in KEYS.items():
            for key in keys:
                token = config.get(key)
                token = token.get("content") if isinstance(token, dict) else token
                if token and role not in special:
                    special[role] = str(token)
        return cls(core, special, config)

    @classmethod
    def wrapping(cls, fast: Any) -> Tokenizer:
        """The core of one of transformers' fast tokenizers; CheckpointError for one that is written in Python."""
        core = getattr(fast, "backend_tokenizer", None)
        if core is None:
            raise CheckpointError(
                f"{type(fast).__name__} is no fast tokenizer: it runs in Python alone and cannot be written as a "
                "tokenizer.json, which is what encloze reads. Take a model whose tokenizer has that file"
            )
        special: dict[str, str] = {}
        names: dict[str, str] = {}
        for role, keys in KEYS.items():
            for key in keys:
                if token := getattr(fast, key, None):
                    names[key] = str(token)
                    special.setdefault(role, str(token))
        # Not its own class: transformers would set up some anew, with that class's defaults, say for capital letters.
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": list(fast.model_input_names)}
        return cls(tokenizers.Tokenizer.from_str(core.to_str()), special, config | names)

    def save(self, folder: Path, max_tokens: int) -> None:
        """Write the files that encloze and transformers read; ``max_tokens`` is the model's limit."""
        self.core.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", {**self.config, "model_max_length": max_tokens})

    def id_of(self, role: Role) -> int:
        """The id of a special token; raise CheckpointError where the tokenizer has none such."""
        found = self.core.token_to_id(self.special[role]) if role in self.special else None
        if found is None:
            keys = " or ".join(KEYS[role])
            instead = ", or take an objective that masks nothing (simcse, cropping)" if role == "mask" else ""
            raise CheckpointError(
                f"the tokenizer has no {role} token (special tokens: {self.special}). "
                f"Name one of its tokens as {keys} in its tokenizer_config.json{instead}"
            )
        return int(found)

    @cached_property
    def pair_frame(self) -> Frame:
        """How two texts are joined; CheckpointError where the tokenizer does not say."""
        joined = self.core.encode("a 1 .", "a 1 .")
        parts = joined.sequence_ids
        if 0 not in parts or 1 not in parts:
            raise CheckpointError("the tokenizer does not say how two texts are joined")
        first, second = parts.index(0), parts.index(1)
        ends = [len(parts) - parts[::-1].index(side) for side in (0, 1)]
        edges = [
            Edge(joined.ids[begin:end], joined.type_ids[begin:end])
            for begin, end in ((0, first), (ends[0], second), (ends[1], len(parts)))
        ]
        return Frame((edges[0], edges[1], edges[2]), (joined.type_ids[first], joined.type_ids[second]))

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self.core.get_vocab_size(with_added_tokens=True))

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.core.to_str()}{sorted(self.special.items())}".encode()).hexdigest()[:32]

    @cached_property
    def special_ids(self) -> np.ndarray:
        """The ids of all special tokens, also of those without a role, which are never masked and never predicted."""
        named = {number for token in self.special.values() if (number := self.core.token_to_id(token)) is not None}
        added = {number for number, token in self.core.get_added_tokens_decoder().items() if token.special}
        return np.array(sorted(named | added), np.int64)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The texts as token ids, uncut and without special tokens."""
        return [
            Encoded(np.array(encoding.ids, np.int32), word_starts(encoding.word_ids))
            for start in range(0, len(texts), _AT_ONCE)
            for encoding in self.core.encode_batch(list(texts[start : start + _AT_ONCE]), add_special_tokens=False)
        ]


def word_starts(word_ids: Sequence[int | None], longest: int | None = LONGEST_WORD) -> np.ndarray:
    """Where words start, from the word that each token belongs to; a word longer than ``longest`` is cut to pieces."""
    words = np.array([-1 if word is None else word for word in word_ids], np.int64)
    starts = np.ones(len(words), bool)
    starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
    if longest is None or not len(words):
        return starts
    number = np.cumsum(starts) - 1
    return np.asarray(starts | (np.bincount(number)[number] > longest))
