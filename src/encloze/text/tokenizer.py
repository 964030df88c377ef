"""Tokenizer that returns the token ids of a text and which tokens start a word; loaded from tokenizer.json."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import tokenizers
from tokenizers import normalizers

from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json, write_json

MAX_WORD_PIECES = 12
"""A word with more pieces than this counts as several words of one piece each. Otherwise a sentence in a script without
spaces (Thai, Japanese) would be a single word, which whole-word masking could never mask."""
_BATCH_TEXTS = 256  # tokenizers needs about 150 bytes per token for all texts that are encoded together

_NO_MAX_LENGTH = 10**20  # transformers uses numbers above this for tokenizers without a limit

Role = Literal["pad", "unk", "cls", "sep", "mask"]
"""Role of a special token."""

SPECIAL_TOKEN_KEYS = {
    "pad": ("pad_token",),
    "unk": ("unk_token",),
    "cls": ("cls_token", "bos_token"),
    "sep": ("sep_token", "eos_token"),
    "mask": ("mask_token",),
}
"""Names of the special tokens in the files of transformers, by role."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text, without special tokens, and a mask of the tokens that start a word."""

    ids: np.ndarray
    """Token ids (int32, one per token)."""
    word_starts: np.ndarray
    """Whether each token is the first token of a word (bool, one per token)."""


class SpecialTokens(NamedTuple):
    """The special tokens at one position of a template, such as between two texts, with their token types."""

    ids: list[int]
    token_type_ids: list[int]


class TextTemplate(NamedTuple):
    """Special tokens that a tokenizer adds to a single text."""

    before: list[int]
    """Ids of the special tokens before the text; may be empty."""
    after: list[int]
    """Ids of the special tokens after the text; may be empty."""
    token_type_ids: set[int]
    """Token type ids of the special tokens and of the text."""


class PairTemplate(NamedTuple):
    """Special tokens and token type ids with which a tokenizer joins two texts into a pair."""

    special_tokens: tuple[SpecialTokens, SpecialTokens, SpecialTokens]
    """Special tokens before the first text, between the texts, and after the second text."""
    token_type_ids: tuple[int, int]
    """Token type id of the first text, and that of the second text."""


class Tokenizer:
    """A tokenizer of the Hugging Face library ``tokenizers``. Some special tokens have a role, such as mask.

    Example:
        >>> tokenizer = Tokenizer.load(Path("my_model"))  # doctest: +SKIP
        >>> tokenizer.encode(["a river"])[0].ids  # doctest: +SKIP
        array([1037, 2314], dtype=int32)
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special_tokens: dict[str, str],
        config: dict[str, Any],
        max_length: int | None = None,
    ) -> None:
        """Initialize the tokenizer.

        Args:
            backend: Tokenizer of the tokenizers library. Its padding and truncation are disabled, because some
                published files pad or truncate every text to the length used in training.
            special_tokens: Special token for each role, such as ``{"mask": "[MASK]"}``.
            config: Content of ``tokenizer_config.json``.
            max_length: Maximum input length that the tokenizer's files set (``model_max_length``), in tokens; None if
                they set none.
        """
        backend.no_padding()
        backend.no_truncation()
        self.backend, self.special_tokens, self.config, self.max_length = backend, special_tokens, config, max_length
        self.truncates_left = config.get("truncation_side") == "left"

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load the tokenizer in a ``tokenizer.json``, without transformers.

        For some tokenizer classes, transformers replaces parts of ``tokenizer.json`` by values of
        ``tokenizer_config.json``. Models are therefore loaded with ``encloze.models.checkpoint.load_tokenizer``.

        Args:
            folder: Folder with ``tokenizer.json`` and the configuration files of transformers.

        Raises:
            CheckpointError: The folder has no ``tokenizer.json``, or it is malformed.
        """
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json. Save the model's fast tokenizer in this folder")
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises no narrower class
            raise CheckpointError(f"{file} is not a valid tokenizer: {error}. Save the tokenizer again") from error
        config: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                config |= read_json(folder / name)
        special_tokens: dict[str, str] = {}
        for role, keys in SPECIAL_TOKEN_KEYS.items():
            for key in keys:
                token = config.get(key)
                token = token.get("content") if isinstance(token, dict) else token
                if token and role not in special_tokens:
                    special_tokens[role] = str(token)
        backend.encode_special_tokens = config.get("split_special_tokens") is True  # not in tokenizer.json
        return cls(backend, special_tokens, config)

    @classmethod
    def from_transformers(cls, tokenizer: Any, *, copy: bool = True) -> Tokenizer:
        """Convert a fast tokenizer of transformers.

        Args:
            tokenizer: A ``PreTrainedTokenizerFast``.
            copy: Whether to copy its backend. Without a copy, ``tokenizer`` itself must not be used any more.

        Raises:
            CheckpointError: The tokenizer is not a fast one, or its maximum length is not a number.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise CheckpointError(
                f"{type(tokenizer).__name__} is not a fast tokenizer and cannot be saved as tokenizer.json. Use a "
                "model with a tokenizer.json"
            )
        special_tokens: dict[str, str] = {}
        names: dict[str, str] = {}
        for role, keys in SPECIAL_TOKEN_KEYS.items():
            for key in keys:
                if token := getattr(tokenizer, key, None):
                    names[key] = str(token)
                    special_tokens.setdefault(role, str(token))
        # The original class is not saved: for some classes, transformers rebuilds the tokenizer with the defaults of
        # the class, for example for lower-casing.
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": list(tokenizer.model_input_names),
            **({"truncation_side": "left"} if tokenizer.truncation_side == "left" else {}),
            **({"split_special_tokens": True} if backend.encode_special_tokens else {}),
            **names,
        }
        max_length = tokenizer.model_max_length  # a float or a huge integer if the files set none
        if not isinstance(max_length, int | float) or not max_length >= 1:  # NaN is refused, too
            raise CheckpointError(
                f"model_max_length in the tokenizer's tokenizer_config.json is {max_length!r}, not a positive number"
            )
        if copy:
            splits, backend = backend.encode_special_tokens, tokenizers.Tokenizer.from_str(backend.to_str())
            backend.encode_special_tokens = splits
        return cls(backend, special_tokens, config, int(max_length) if max_length < _NO_MAX_LENGTH else None)

    def save(self, folder: Path, max_tokens: int, *, with_token_types: bool = True) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which encloze and transformers can load.

        Args:
            folder: Existing folder to write the files to.
            max_tokens: Maximum input length of the model.
            with_token_types: Whether the model has token types. Some models of transformers fail if they get any.
        """
        self.backend.save(str(folder / "tokenizer.json"))
        config = {**self.config, "model_max_length": max_tokens}
        if not with_token_types:
            names = config.get("model_input_names", ("input_ids", "attention_mask"))
            config["model_input_names"] = [name for name in names if name != "token_type_ids"]
        write_json(folder / "tokenizer_config.json", config)

    def lower_case(self) -> None:
        """Lower-case texts before the tokenizer's own normalization, unless its first steps include this already."""
        own = self.backend.normalizer
        steps: list[Any] = list(cast(Any, own)) if isinstance(own, normalizers.Sequence) else [own] if own else []
        if not any(isinstance(step, normalizers.Lowercase) for step in steps):
            self.backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])

    def special_id(self, role: Role) -> int:
        """Return the id of a special token.

        Args:
            role: Role of the special token, a key of ``SPECIAL_TOKEN_KEYS``.

        Raises:
            CheckpointError: The tokenizer has no token with this role.
        """
        token_id = self.backend.token_to_id(self.special_tokens[role]) if role in self.special_tokens else None
        if token_id is None:
            keys = " or ".join(SPECIAL_TOKEN_KEYS[role])
            alternative = ", or use an objective without masking (simcse, cropping)" if role == "mask" else ""
            raise CheckpointError(
                f"the tokenizer has no {role} token (special tokens: {self.special_tokens}). Set {keys} in its "
                f"tokenizer_config.json to one of its tokens{alternative}"
            )
        return int(token_id)

    @cached_property
    def template(self) -> TextTemplate:
        """Special tokens that the tokenizer adds before and after a single text, as its post-processor defines."""
        encoding = self._encode_with_template()
        sequences = encoding.sequence_ids
        first, end = sequences.index(0), len(sequences) - sequences[::-1].index(0)
        return TextTemplate(encoding.ids[:first], encoding.ids[end:], set(encoding.type_ids))

    @property
    def num_special_tokens(self) -> int:
        """Number of special tokens that the tokenizer adds to a single text."""
        return len(self.template.before) + len(self.template.after)

    @cached_property
    def pair_template(self) -> PairTemplate:
        """Special tokens and token type ids for joining two texts. Raises CheckpointError if they are not defined.

        Token types are 0 if the tokenizer does not pass token types to its model (``model_input_names``).
        """
        encoding = self._encode_with_template(is_pair=True)
        sequences = encoding.sequence_ids
        if 0 not in sequences or 1 not in sequences:
            raise CheckpointError(
                "the tokenizer does not define how two texts are joined. Add a post-processor to its tokenizer.json"
            )
        first, second = sequences.index(0), sequences.index(1)
        ends = [len(sequences) - sequences[::-1].index(side) for side in (0, 1)]
        types = encoding.type_ids if self.has_token_types else [0] * len(encoding.type_ids)
        before, between, after = (
            SpecialTokens(encoding.ids[start:end], types[start:end])
            for start, end in ((0, first), (ends[0], second), (ends[1], len(sequences)))
        )
        return PairTemplate((before, between, after), (types[first], types[second]))

    @property
    def has_token_types(self) -> bool:
        """Whether the tokenizer passes token types to its model; also true if its files do not say so."""
        return "token_type_ids" in self.config.get("model_input_names", ("token_type_ids",))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, including added tokens."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tokenizer, its special tokens and the side at which it truncates texts."""
        content = f"{self.backend.to_str()}{sorted(self.special_tokens.items())}{'left' * self.truncates_left}"
        content += "split" * self.backend.encode_special_tokens  # not in the text of the backend
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @cached_property
    def special_ids(self) -> np.ndarray:
        """Sorted ids (int64) of all special tokens, including those that have no ``Role``. Special tokens are never
        masked or predicted."""
        with_role = {
            id_ for token in self.special_tokens.values() if (id_ := self.backend.token_to_id(token)) is not None
        }
        added = {id_ for id_, token in self.backend.get_added_tokens_decoder().items() if token.special}
        return np.array(sorted(with_role | added), np.int64)

    def _encode_with_template(self, *, is_pair: bool = False) -> tokenizers.Encoding:
        """Return the encoding of a text, or of a pair of texts, that consists of at least one token."""
        texts = itertools.chain(["a 1 ."], self.backend.get_vocab())  # some vocabularies have none of these letters
        text = next((text for text in texts if self.backend.encode(text, add_special_tokens=False).ids), None)
        if text is None:
            raise CheckpointError("the tokenizer has no token for any text. Save the tokenizer again")
        return self.backend.encode(text, text) if is_pair else self.backend.encode(text)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokenize texts, without truncation and without special tokens.

        Args:
            texts: Texts to tokenize.
        """
        return [
            Encoded(np.array(encoding.ids, np.int32), word_starts(encoding.word_ids))
            for start in range(0, len(texts), _BATCH_TEXTS)
            for encoding in self.backend.encode_batch(
                list(texts[start : start + _BATCH_TEXTS]), add_special_tokens=False
            )
        ]


def word_starts(word_ids: Sequence[int | None], max_pieces: int | None = MAX_WORD_PIECES) -> np.ndarray:
    """Return a mask of the tokens that start a word.

    Args:
        word_ids: Index of the word that each token belongs to; None for tokens outside words.
        max_pieces: If a word has more tokens than this, each of its tokens is treated as a word; None for no limit.

    Returns:
        Mask, bool ``(tokens,)``.

    Example:
        >>> word_starts([0, 0, 1]).tolist()
        [True, False, True]
    """
    words = np.array([-1 if word is None else word for word in word_ids], np.int64)
    starts = np.ones(len(words), bool)
    starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
    if max_pieces is None or not len(words):
        return starts
    number = np.cumsum(starts) - 1
    return np.asarray(starts | (np.bincount(number)[number] > max_pieces))
