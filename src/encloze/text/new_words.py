"""New words for a tokenizer: those of a corpus that it cuts into many pieces, each made one token."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from encloze.errors import CheckpointError
from encloze.text.tokenizer import KEYS, Tokenizer

_LETTERS = pre_tokenizers.Split(tokenizers.Regex(r"[^\p{L}\p{M}]+"), "removed")  # Python's \w knows no marks
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_BLANK = "▁"  # as sentencepiece writes it
_MOST_WORDS = 1_000_000  # counted at a time
_WORDS = 4096  # encoded at a time
_ABOVE = 1e-6  # times the square of its letters: what a new unigram piece is worth more than its old pieces


def frequent_words(
    texts: Iterable[str], tokenizer: Tokenizer, count: int, least_pieces: int = 3, least_times: int = 10
) -> list[str]:
    """The ``count`` words whose being one token would shorten the texts most: times x (pieces - 1), ties by word.

    A word is a run of letters and marks, as the tokenizer's normaliser leaves it, that its pre-tokenizer keeps in one;
    what counts as several words for masking (``LONGEST_WORD``) is none. The texts are gone through once. Beyond a
    million different words the rarest are forgotten.
    """
    counts = {word: times for word, times in _counted(texts, tokenizer).items() if times >= least_times}
    words, saved = sorted(counts), dict[str, int]()
    for start in range(0, len(words), _WORDS):
        part = words[start : start + _WORDS]
        for word, encoded in zip(part, tokenizer.encode([f" {word}" for word in part]), strict=True):
            if len(encoded.ids) >= least_pieces and encoded.starts.sum() == 1:
                saved[word] = counts[word] * (len(encoded.ids) - 1)
    return sorted(saved, key=lambda word: -saved[word])[:count]  # equal ones stay in the order of the words


def extended(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """A tokenizer to which each word is one token, of an id after all old ones. Raises CheckpointError where it cannot.

    The words enter the model's own vocabulary, so blanks, neighbours and decoding stay as they were; added tokens, cut
    out before the blanks are read, would change them. A word has one token, but where blanks are part of a token: there
    a second one serves behind brackets and hyphens. Texts without the words are cut as before, but for longer words:

    - WordPiece takes the longest beginning that it knows, so ``carcinomas`` becomes ``carcinoma ##s``. The two share a
      token then, which is why this is better than to match whole words alone (docs/explanation/log.md has figures).
    - Unigram cuts a longer word anew only where it was cut into the new word's pieces and others.
    - Byte-level BPE takes a word whole or not at all: no longer word changes.
    """
    made = json.loads(tokenizer.core.to_str())
    model, kind, config = made["model"], made["model"]["type"], tokenizer.config
    known = tokenizer.core.get_vocab(with_added_tokens=True)
    if kind == "WordPiece":
        model["vocab"] = _with_entries(known, words)
    elif kind == "Unigram":
        _extend_unigram(model, known, [form for word in words for form in (_BLANK + word, word)], tokenizer)
    elif kind == "BPE":
        model["vocab"] = _with_entries(known, [_byte_letters(form) for word in words for form in (f" {word}", word)])
        model["ignore_merges"] = True  # a word that is in the vocabulary is taken as it is
        # transformers would build a class of its own anew from vocabulary and merges, and lose the line above.
        names = {KEYS[role][0]: token for role, token in tokenizer.special.items()}
        config = {**names, **config, "tokenizer_class": "PreTrainedTokenizerFast"}
    else:
        raise CheckpointError(
            f"no words can be added to a tokenizer of the kind {kind} (but to WordPiece, Unigram, BPE)"
        )
    result = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(made)), dict(tokenizer.special), config)
    cut = [f" {word}" for word in words]
    if whole := [word for word, encoded in zip(words, result.encode(cut), strict=True) if len(encoded.ids) != 1]:
        raise CheckpointError(
            f"{len(whole)} of {len(words)} words cannot be one token to this tokenizer ({kind}), among them "
            f"{', '.join(whole[:3])}: its normaliser changes them, or its pre-tokenizer parts them otherwise"
        )
    return result


def _counted(texts: Iterable[str], tokenizer: Tokenizer) -> Mapping[str, int]:
    normalizer, counts, forgotten = tokenizer.core.normalizer, Counter[str](), 0
    for text in texts:
        normal = normalizer.normalize_str(text) if normalizer else text
        counts.update(word for word, _ in _LETTERS.pre_tokenize_str(normal))
        while len(counts) > _MOST_WORDS:
            forgotten += 1
            counts = Counter({word: times for word, times in counts.items() if times > forgotten})
    return counts


def _with_entries(known: Mapping[str, int], entries: Iterable[str]) -> dict[str, int]:
    """The vocabulary with more entries. It holds the added tokens, too: ids with holes between them are not saved."""
    vocabulary, first = dict(known), _first_free(known)
    for entry in entries:
        if entry not in vocabulary:
            vocabulary[entry], first = first, first + 1
    return vocabulary


def _extend_unigram(model: dict[str, Any], known: Mapping[str, int], entries: list[str], tokenizer: Tokenizer) -> None:
    """Append pieces, each worth a little more than the best cut of it so far, so that the new one is the best.

    "A little" grows faster than the letters do, so that a new word also beats two others that it is made of.
    """
    vocabulary: list[list[Any]] = model["vocab"]
    scores, lowest = [score for _, score in vocabulary], min(score for _, score in vocabulary)
    named = {number: token for token, number in known.items()}
    for number in range(len(vocabulary), _first_free(known)):  # a piece's id is its place, so added tokens get theirs
        vocabulary.append([named.get(number, f"[unused{number}]"), lowest])
    seen = set(known)
    for entry in entries:
        if entry not in seen:
            seen.add(entry)
            best = sum(scores[piece.id] for piece in tokenizer.core.model.tokenize(entry))
            vocabulary.append([entry, best + _ABOVE * len(entry) ** 2])


def _byte_letters(text: str) -> str:
    """The text as byte-level BPE spells it: a letter for each byte."""
    return "".join(part for part, _ in _BYTES.pre_tokenize_str(text))


def _first_free(known: Mapping[str, int]) -> int:
    return max(known.values()) + 1
