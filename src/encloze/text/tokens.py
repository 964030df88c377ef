"""A tokenised collection on disk, made once and mapped: ids, word starts and where each text begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.storage.cache import cache_folder
from encloze.storage.disk import explain_write_errors
from encloze.text.tokenizer import Encoded, Tokenizer

_TEXTS = 1024


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids without special tokens, uncut."""

    ids: np.ndarray  # int32, all tokens in a row
    starts: np.ndarray  # bool, beside the ids
    offsets: np.ndarray  # int64, texts + 1

    @classmethod
    def of(cls, texts: Iterable[str], count: int, tokenizer: Tokenizer, key: str) -> Tokens:
        """Tokenise texts, or find them tokenised in the cache. ``key`` names the texts: their fingerprint."""
        folder = cache_folder() / "tokens" / f"{key}-{tokenizer.fingerprint}"
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.{os.getpid()}")
            try:
                with explain_write_errors(folder):
                    partial.mkdir(parents=True, exist_ok=True)
                    _write(texts, count, tokenizer, partial)
                    _move(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        ids, starts = (
            np.fromfile(folder / name, kind) if _empty(folder / name) else np.memmap(folder / name, kind, "r")
            for name, kind in (("ids", np.int32), ("starts", np.bool_))
        )
        return cls(ids, starts, np.fromfile(folder / "offsets", np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Encoded:
        part = slice(self.offsets[number], self.offsets[number + 1])
        return Encoded(np.asarray(self.ids[part]), np.asarray(self.starts[part]))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, special ones not counted."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Padded:
    """Texts as a rectangle, special tokens added and cut to a limit."""

    ids: np.ndarray  # int64, batch x length
    attention: np.ndarray  # bool, batch x length: no padding
    words: np.ndarray  # int64, batch x length: the word a token belongs to, -1 for special tokens and padding


def by_length(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Numbers of texts of like length, the longest first, few enough for so many tokens with padding (one at least)."""
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        rows = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def pad(texts: list[Encoded], tokenizer: Tokenizer, max_tokens: int) -> Padded:
    """Put the first and last token around each text, cut it to ``max_tokens`` in all, and fill up with padding."""
    first, last, filler = (tokenizer.id_of(role) for role in ("first", "last", "pad"))
    lengths = np.array([min(len(text.ids), max_tokens - 2) for text in texts])
    width = int(lengths.max(initial=0)) + 2
    ids = np.full((len(texts), width), filler, np.int64)
    words = np.full((len(texts), width), -1, np.int64)
    ids[:, 0] = first
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        ids[row, 1 : length + 1] = text.ids[:length]
        ids[row, length + 1] = last
        words[row, 1 : length + 1] = np.cumsum(text.starts[:length]) - 1
    words[np.isin(ids, tokenizer.special_ids)] = -1  # also where one stands in the text, such as an unknown token
    return Padded(ids, np.arange(width) < lengths[:, None] + 2, words)


def _move(partial: Path, folder: Path) -> None:
    """Give the folder its name, unless another process was faster."""
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _write(texts: Iterable[str], count: int, tokenizer: Tokenizer, folder: Path) -> None:
    lengths: list[int] = []
    source: Iterator[str] = iter(texts)
    with (
        progress.task("Tokenising", count, "texts") as bar,
        (folder / "ids").open("wb") as ids,
        (folder / "starts").open("wb") as starts,
    ):
        while part := list(islice(source, _TEXTS)):
            for encoded in tokenizer.encode(part):
                ids.write(encoded.ids.tobytes())
                starts.write(encoded.starts.tobytes())
                lengths.append(len(encoded.ids))
            bar.advance(len(part))
    np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64).tofile(folder / "offsets")


def _empty(file: Path) -> bool:
    return file.stat().st_size == 0
