"""Tokenizers with some of the tokens of another one: those that a corpus contains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import tokenizers

from encloze.errors import CheckpointError
from encloze.text.tokenizer import SPECIAL_TOKEN_KEYS, Tokenizer

_BATCH = 1024  # texts
_PREFIXES = ("##", "▁")
_BYTE = "<0x"


def count_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    """Return how often each token occurs in texts: int64, with one number for each id."""
    counts = np.zeros(max(tokenizer.backend.get_vocab(with_added_tokens=True).values()) + 1, np.int64)
    for batch in _batches(texts):
        ids = np.concatenate([encoded.ids for encoded in tokenizer.encode(batch)])
        counts += np.bincount(ids, minlength=len(counts))
    return counts


def tokens_to_keep(tokenizer: Tokenizer, used: np.ndarray) -> np.ndarray:
    """Return the ids of the tokens that a tokenizer needs for texts, in ascending order (int64).

    These are the used tokens, special and added tokens, and all tokens of one character or byte, so that every text can
    still be tokenized; and for BPE, the tokens of which these are merged.

    Args:
        tokenizer: A tokenizer with a WordPiece, Unigram or BPE model.
        used: Ids of the tokens in the texts.

    Raises:
        CheckpointError: The tokenizer's model is of another type.
    """
    model = json.loads(tokenizer.backend.to_str())["model"]
    if model["type"] not in ("WordPiece", "Unigram", "BPE"):
        raise CheckpointError(f"the vocabulary of a tokenizer with a {model['type']} model cannot be pruned")
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    kept = {int(id_) for id_ in used} | set(tokenizer.backend.get_added_tokens_decoder())
    kept |= {id_ for token, id_ in vocabulary.items() if _is_single(token)}
    kept |= {vocabulary[token] for token in tokenizer.special_tokens.values() if token in vocabulary}
    if model.get("unk_token") in vocabulary:
        kept.add(vocabulary[model["unk_token"]])
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])
    for left, right in reversed(_merges(model)):  # later merges join the results of earlier ones
        if vocabulary.get(left + right) in kept:
            kept |= {vocabulary[left], vocabulary[right]}
    return np.array(sorted(kept), np.int64)


def prune_tokenizer(tokenizer: Tokenizer, kept: np.ndarray) -> Tokenizer:
    """Return a tokenizer that has only some of the tokens. Texts of these tokens are tokenized as before.

    Args:
        tokenizer: A tokenizer. It is not modified.
        kept: Ids of the tokens, as ``tokens_to_keep`` returns them. They become 0, 1 and so on.
    """
    new_id = {int(old): new for new, old in enumerate(kept)}
    content: dict[str, Any] = json.loads(tokenizer.backend.to_str())
    model = content["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [piece for id_, piece in enumerate(model["vocab"]) if id_ in new_id]
        model["unk_id"] = new_id.get(model["unk_id"])
    else:
        model["vocab"] = {token: new_id[id_] for token, id_ in model["vocab"].items() if id_ in new_id}
    if model["type"] == "BPE":
        model["merges"] = [pair for pair in _merges(model) if "".join(pair) in model["vocab"]]
    for token in content["added_tokens"]:
        token["id"] = new_id[token["id"]]
    _renumber(content["post_processor"], new_id)
    # Other tokenizer classes of transformers rebuild parts of themselves.
    names = {SPECIAL_TOKEN_KEYS[role][0]: token for role, token in tokenizer.special_tokens.items()}
    config = {**names, **tokenizer.config, "tokenizer_class": "PreTrainedTokenizerFast"}
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    backend.encode_special_tokens = tokenizer.backend.encode_special_tokens
    return Tokenizer(backend, dict(tokenizer.special_tokens), config, tokenizer.max_length)


def check_pruned(before: Tokenizer, after: Tokenizer, kept: np.ndarray, texts: Iterable[str]) -> None:
    """Raise CheckpointError if a text is not tokenized as before by a tokenizer that has only some tokens."""
    for batch in _batches(texts):
        for text, old, new in zip(batch, before.encode(batch), after.encode(batch), strict=True):
            if not np.array_equal(old.ids, kept[new.ids]):
                raise CheckpointError(
                    f"the tokenizer splits a text in another way without the tokens that it does not contain: "
                    f"{text[:80]!r}. Its vocabulary cannot be pruned"
                )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _is_single(token: str) -> bool:
    """Return whether a token is one character, also as a part of a word, or one byte."""
    for prefix in _PREFIXES:
        token = token.removeprefix(prefix) if token != prefix else token
    return len(token) == 1 or token.startswith(_BYTE)


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs that BPE merges, in their order; empty for other models."""
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model.get("merges", ()))
    return [(left, right) for left, right in pairs]


def _renumber(part: Any, new_id: dict[int, int]) -> None:
    """Replace the ids of special tokens in a post-processor, in place."""
    if isinstance(part, list):
        for one in part:
            _renumber(one, new_id)
    elif isinstance(part, dict):
        for name in ("sep", "cls"):  # BertProcessing, RobertaProcessing: [token, id]
            if isinstance(part.get(name), list):
                part[name][1] = new_id[part[name][1]]
        for token in (part.get("special_tokens") or {}).values() if part.get("type") == "TemplateProcessing" else ():
            token["ids"] = [new_id[id_] for id_ in token["ids"]]
        _renumber(part.get("processors"), new_id)
