"""A tokenizer: text to token ids, with the places where words start, from a tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from encloze.errors import CheckpointError
from encloze.folders import read_json, write_json
from encloze.settings import Settings

LONGEST_WORD = 12
"""A word of more pieces than this counts as so many words of one piece: scripts without blanks between words
(Thai, Japanese) would otherwise make a sentence one word, which whole-word masking could never choose."""

_SPECIAL = {"pad": "[PAD]", "unknown": "[UNK]", "first": "[CLS]", "last": "[SEP]", "mask": "[MASK]"}
_KEYS = {
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


@dataclass(frozen=True)
class TokenizerFromCorpus(Settings):
    """How a tokenizer is trained on a corpus that no existing one fits."""

    kind: Literal["wordpiece", "unigram", "bpe"] = "unigram"
    """How words are cut into pieces; unigram and bpe also serve scripts without blanks between words."""
    vocabulary: int = 16000
    """Number of pieces, the five special ones included."""
    lowercase: bool = True
    """Whether capital letters become small ones."""
    strip_marks: bool = False
    """Whether combining marks are dropped: wrong for Hindi, Thai, Japanese, Hebrew points and many others."""

    def __post_init__(self) -> None:
        if self.vocabulary < 100:
            raise ValueError(f"vocabulary must be 100 or more, not {self.vocabulary}")


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
        core = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        config: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                config |= read_json(folder / name)
        special = {}
        for role, keys in _KEYS.items():
            for key in keys:
                token = config.get(key)
                token = token.get("content") if isinstance(token, dict) else token
                if token and role not in special:
                    special[role] = str(token)
        return cls(core, special, config)

    @classmethod
    def train(cls, texts: Iterable[str], settings: TokenizerFromCorpus) -> Tokenizer:
        """Train a tokenizer on texts; the same texts give the same one."""
        core, trainer = _untrained(settings)
        core.train_from_iterator(texts, trainer)
        first, last = (int(core.token_to_id(_SPECIAL[role]) or 0) for role in ("first", "last"))
        core.post_processor = processors.BertProcessing((_SPECIAL["last"], last), (_SPECIAL["first"], first))
        names = {key: _SPECIAL[role] for role, keys in _KEYS.items() for key in keys[:1]}
        return cls(core, dict(_SPECIAL), {"tokenizer_class": "PreTrainedTokenizerFast", **names})

    @classmethod
    def wrapping(cls, fast: Any) -> Tokenizer:
        """The core of one of transformers' fast tokenizers."""
        special: dict[str, str] = {}
        for role, keys in _KEYS.items():
            tokens = [getattr(fast, key, None) for key in keys]
            found = next((str(token) for token in tokens if token), None)
            if found:
                special[role] = found
        config = {"tokenizer_class": type(fast).__name__}
        return cls(tokenizers.Tokenizer.from_str(fast.backend_tokenizer.to_str()), special, config)

    def save(self, folder: Path, max_tokens: int) -> None:
        """Write the files that encloze and transformers read; ``max_tokens`` is the model's limit."""
        self.core.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", {**self.config, "model_max_length": max_tokens})

    def id_of(self, role: Literal["pad", "unknown", "first", "last", "mask"]) -> int:
        """The id of a special token; raise CheckpointError where the tokenizer has none such."""
        found = self.core.token_to_id(self.special[role]) if role in self.special else None
        if found is None:
            raise CheckpointError(f"the tokenizer has no {role} token (special tokens: {self.special})")
        return int(found)

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self.core.get_vocab_size(with_added_tokens=True))

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.core.to_str().encode()).hexdigest()[:32]

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The texts as token ids, uncut and without special tokens."""
        return [
            Encoded(np.array(encoding.ids, np.int32), word_starts(encoding.word_ids))
            for encoding in self.core.encode_batch(list(texts), add_special_tokens=False)
        ]


def word_starts(word_ids: Sequence[int | None]) -> np.ndarray:
    """Where words start, from the word that each token belongs to; see LONGEST_WORD for words of many pieces."""
    words = np.array([-1 if word is None else word for word in word_ids], np.int64)
    starts = np.ones(len(words), bool)
    starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
    number = np.cumsum(starts) - 1
    too_long = np.bincount(number, minlength=1)[number] > LONGEST_WORD if len(words) else starts
    return starts | too_long


def _untrained(settings: TokenizerFromCorpus) -> tuple[tokenizers.Tokenizer, Any]:
    """A tokenizer with no vocabulary yet, and what will train it."""
    special, size, unknown = list(_SPECIAL.values()), settings.vocabulary, _SPECIAL["unknown"]
    if settings.kind == "wordpiece":
        core = tokenizers.Tokenizer(models.WordPiece(unk_token=unknown))
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    elif settings.kind == "unigram":
        core = tokenizers.Tokenizer(models.Unigram())
        core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()])
        core.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=size, special_tokens=special, unk_token=unknown, show_progress=False
        )
    else:
        core = tokenizers.Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    steps: list[Any] = [normalizers.NFC()]
    steps += [normalizers.Lowercase()] * settings.lowercase
    steps += [normalizers.NFD(), normalizers.StripAccents()] * settings.strip_marks
    core.normalizer = normalizers.Sequence(steps)
    return core, trainer


def unknown_share(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of the texts' tokens that the tokenizer does not know, from 0 to 1."""
    if "unknown" not in tokenizer.special:
        return 0.0
    ids = np.concatenate([np.empty(0, np.int32), *(encoded.ids for encoded in tokenizer.encode(texts))])
    return float(np.mean(ids == tokenizer.id_of("unknown"))) if len(ids) else 0.0
