"""Passages of a fixed number of tokens of a model's tokenizer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from encloze.data.chunkers._packing import Span, pack
from encloze.data.chunkers.base import Chunker, Passage
from encloze.errors import CheckpointError, importable
from encloze.storage.hashes import hash_file
from encloze.storage.model_folders import locate

_VISIBLE = re.compile(r"\S*")
"""What follows a word and belongs to no token, such as accents that the tokenizer removes."""


@dataclass(frozen=True)
class Tokens(Chunker, name="tokens"):
    """Passages of a number of tokens, cut between words, so that no passage is longer than what a model reads."""

    tokenizer: str = "minilm"
    """Model whose tokenizer counts the tokens: a model folder, a hub id, or minilm."""
    max_tokens: int = 200
    """Maximum number of tokens of a passage, without special tokens and the title."""
    overlap: int = 30
    """Number of tokens, at most, at the end of a passage with which the next one begins."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.overlap < self.max_tokens:
            raise ValueError("max_tokens must be 1 or more, and overlap from 0 to less than max_tokens")

    def cut(self, text: str) -> list[Passage]:
        words = self._words(text)
        return pack([span for span, _ in words], [count for _, count in words], self.max_tokens, self.overlap)

    def fingerprint(self) -> str:
        return hash_file(locate(self.tokenizer) / "tokenizer.json")

    def _words(self, text: str) -> list[tuple[Span, int]]:
        """Return begin and end of each word, and its number of tokens; a word that is too long is divided."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        words, previous = list[tuple[Span, int]](), None
        for (begin, end), word in zip(encoding.offsets, encoding.word_ids, strict=True):
            if begin == end:
                continue
            (start, before), count = words[-1] if words else ((0, -1), 0)
            is_punctuation = not (text[begin].isalnum() and text[before - 1 : before].isalnum())
            belongs = (word is not None and word == previous) or (begin == before and is_punctuation)
            if belongs and count < self.max_tokens:
                words[-1] = ((start, end), count + 1)
            else:
                words.append(((begin, end), 1))
            previous = word
        begins = [*(begin for (begin, _), _ in words), len(text)][1:]
        whole = [
            ((begin, end + len(_VISIBLE.match(text[end:following])[0])), count)  # type: ignore[index]
            for ((begin, end), count), following in zip(words, begins, strict=True)
        ]
        return [(_visible(text, span), count) for span, count in whole if text[slice(*span)].strip()]

    @cached_property
    def _backend(self) -> Any:
        file = locate(self.tokenizer) / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(f"{file.parent} has no tokenizer.json. Name a model with a fast tokenizer")
        backend = importable("tokenizers", "train").Tokenizer.from_file(str(file))
        backend.no_truncation()
        backend.no_padding()
        return backend


def _visible(text: str, span: Span) -> Span:
    """Return a span without white space at its ends, which some tokenizers count as part of a word."""
    begin, end = span
    part = text[begin:end]
    return begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())
