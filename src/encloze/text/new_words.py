"""Extension of a tokenizer: frequent words of the corpus become single tokens instead of several tokens each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from encloze.errors import CheckpointError
from encloze.text.tokenizer import SPECIAL_TOKEN_KEYS, Tokenizer

MAX_COUNTED_WORDS = 1_000_000
"""Number of different words whose counts are kept in memory."""

_LETTER_RUNS = pre_tokenizers.Split(tokenizers.Regex(r"[^\p{L}\p{M}]+"), "removed")  # \w of Python excludes marks
_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_SPACE = "▁"  # space in sentencepiece vocabularies
_BATCH_WORDS = 4096
_SCORE_MARGIN = 1e-6  # a new unigram piece scores this times its squared length more than its old pieces together


def frequent_words(
    texts: Iterable[str], tokenizer: Tokenizer, count: int, min_pieces: int = 3, min_count: int = 10
) -> list[str]:
    """Return the words that would shorten the tokenized texts most if they were single tokens.

    A word is a sequence of letters and combining marks in the normalized text that the pre-tokenizer does not split.
    The tokens of a word are called pieces. Words of more than ``MAX_WORD_PIECES`` pieces are excluded, because
    whole-word masking treats them as several words. If the texts contain more than a million different words, the
    counts of the rarest ones are deleted, to limit memory, so rare words can be missing.

    Args:
        texts: Texts of the corpus; iterated over once.
        tokenizer: Tokenizer to extend.
        count: Maximum number of words to return.
        min_pieces: Minimum number of pieces into which the tokenizer splits a word.
        min_count: Minimum number of occurrences of a word.

    Returns:
        Words in descending order of the number of tokens that they save, which is occurrences x (pieces - 1). Ties are
        in alphabetical order.
    """
    counts = {word: times for word, times in _count_words(texts, tokenizer).items() if times >= min_count}
    words, saved_tokens = sorted(counts), dict[str, int]()
    for start in range(0, len(words), _BATCH_WORDS):
        batch = words[start : start + _BATCH_WORDS]
        for word, encoded in zip(batch, tokenizer.encode([f" {word}" for word in batch]), strict=True):
            if len(encoded.ids) >= min_pieces and encoded.word_starts.sum() == 1:
                saved_tokens[word] = counts[word] * (len(encoded.ids) - 1)
    return sorted(saved_tokens, key=lambda word: -saved_tokens[word])[:count]  # stable: ties stay in word order


def extend_tokenizer(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """Return a tokenizer in which each word is one token. Ids of existing tokens do not change.

    Words are added to the vocabulary of the tokenizer's model, not as added tokens, because added tokens change spaces,
    neighboring tokens and decoding. If spaces are part of tokens, a word gets two tokens: one that begins with a space,
    and one without a space, for use after brackets and hyphens. Other words are tokenized as before, except for longer
    words that contain a new word, depending on the type of the model:

    - WordPiece always takes the longest matching piece: after ``carcinoma`` is added, ``carcinomas`` becomes
      ``carcinoma ##s``. Both words then share a token, which works better than adding only words that are
      matched as a whole (measurements in docs/explanation/log.md).
    - Unigram tokenizes a longer word differently only if its pieces included all pieces of the new word in sequence.
    - Byte-level BPE tokenizes longer words as before.

    Args:
        tokenizer: Tokenizer with a WordPiece, Unigram or byte-level BPE model. It is not modified.
        words: Words to add, as ``frequent_words`` returns them.

    Raises:
        CheckpointError: The tokenizer's model is of another type, or a word cannot become one token.
    """
    content = json.loads(tokenizer.backend.to_str())
    model, model_type, config = content["model"], content["model"]["type"], tokenizer.config
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    if model_type == "WordPiece":
        model["vocab"] = _with_entries(vocabulary, words)
    elif model_type == "Unigram":
        _extend_unigram(model, vocabulary, [form for word in words for form in (_SPACE + word, word)], tokenizer)
    elif model_type == "BPE":
        entries = [_byte_level(form) for word in words for form in (f" {word}", word)]
        model["vocab"] = _with_entries(vocabulary, entries)
        model["ignore_merges"] = True  # a word in the vocabulary becomes one token without merges
        # Other tokenizer classes of transformers rebuild themselves from vocabulary and merges, without this option.
        names = {SPECIAL_TOKEN_KEYS[role][0]: token for role, token in tokenizer.special_tokens.items()}
        config = {**names, **config, "tokenizer_class": "PreTrainedTokenizerFast"}
    else:
        raise CheckpointError(
            f"words cannot be added to a tokenizer with a {model_type} model. Use WordPiece, Unigram or BPE"
        )
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    extended = Tokenizer(backend, dict(tokenizer.special_tokens), config)
    encoded_words = extended.encode([f" {word}" for word in words])
    if split := [word for word, encoded in zip(words, encoded_words, strict=True) if len(encoded.ids) != 1]:
        raise CheckpointError(
            f"{len(split)} of {len(words)} words cannot be one token of this tokenizer ({model_type}), for example "
            f"{', '.join(split[:3])}: its normalizer changes them, or its pre-tokenizer splits them. Leave them out"
        )
    return extended


def _count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Mapping[str, int]:
    """Return how often each word occurs in the normalized texts.

    Whenever more than a million distinct words have been counted, the counts of the rarest words are deleted, to limit
    memory. The result can therefore lack rare words.
    """
    normalizer, counts, threshold = tokenizer.backend.normalizer, Counter[str](), 0
    for text in texts:
        normalized = normalizer.normalize_str(text) if normalizer else text
        counts.update(word for word, _ in _LETTER_RUNS.pre_tokenize_str(normalized))
        while len(counts) > MAX_COUNTED_WORDS:
            threshold += 1
            counts = Counter({word: times for word, times in counts.items() if times > threshold})
    return counts


def _with_entries(vocabulary: Mapping[str, int], entries: Iterable[str]) -> dict[str, int]:
    """Return a copy of ``vocabulary`` (token to id), to which new ``entries`` are added with the next free ids."""
    extended, next_id = dict(vocabulary), _next_id(vocabulary)
    for entry in entries:
        if entry not in extended:
            extended[entry], next_id = next_id, next_id + 1
    return extended


def _extend_unigram(
    model: dict[str, Any], vocabulary: Mapping[str, int], entries: list[str], tokenizer: Tokenizer
) -> None:
    """Append new words to a Unigram model, each with a slightly higher score than the sum over its current pieces.

    The model then prefers the new word to its pieces. The score is higher by a margin that grows with the square of
    the word's length. Therefore a new word that consists of two shorter new words is also preferred to those two.
    """
    pieces: list[list[Any]] = model["vocab"]
    scores, lowest = [score for _, score in pieces], min(score for _, score in pieces)
    tokens = {id_: token for token, id_ in vocabulary.items()}
    for id_ in range(len(pieces), _next_id(vocabulary)):  # the id of a piece is its index, so added tokens are listed
        pieces.append([tokens.get(id_, f"[unused{id_}]"), lowest])
    seen = set(vocabulary)
    for entry in entries:
        if entry not in seen:
            seen.add(entry)
            best = sum(scores[piece.id] for piece in tokenizer.backend.model.tokenize(entry))
            pieces.append([entry, best + _SCORE_MARGIN * len(entry) ** 2])


def _byte_level(text: str) -> str:
    """Return the text as byte-level BPE represents it: each byte of its UTF-8 encoding becomes one character."""
    return "".join(part for part, _ in _BYTE_LEVEL.pre_tokenize_str(text))


def _next_id(vocabulary: Mapping[str, int]) -> int:
    return max(vocabulary.values()) + 1
