"""Tokenized texts in memory-mapped files, and batches of padded texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import cached_folder
from encloze.text.tokenizer import Encoded, Tokenizer

_BATCH_TEXTS = 1024


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of many texts, without special tokens and without truncation."""

    ids: np.ndarray
    """Token ids of all texts, concatenated (int32, one per token)."""
    word_starts: np.ndarray
    """Whether each token starts a word (bool, one per token)."""
    offsets: np.ndarray
    """Index in ``ids`` of each text's first token, followed by the total number of tokens (int64, texts + 1)."""

    @classmethod
    def from_texts(cls, texts: Iterable[str], count: int, tokenizer: Tokenizer, key: str) -> TokenizedTexts:
        """Tokenize texts, or read their tokens from the cache.

        Args:
            texts: Texts to tokenize.
            count: Number of texts, for the progress bar.
            tokenizer: Tokenizer to use.
            key: Fingerprint of the texts, which identifies them in the cache.
        """
        folder = cache_folder() / "tokens" / f"{key}-{tokenizer.fingerprint}"
        cached_folder(folder, lambda staging: _write(texts, count, tokenizer, staging))
        ids, word_starts = (
            np.fromfile(folder / name, dtype) if _is_empty(folder / name) else np.memmap(folder / name, dtype, "r")
            for name, dtype in (("ids", np.int32), ("starts", np.bool_))
        )
        return cls(ids, word_starts, np.fromfile(folder / "offsets", np.int64))

    @classmethod
    def of_documents(cls, corpus: Corpus, prompt: str, tokenizer: Tokenizer) -> TokenizedTexts:
        """Tokenize the documents of a corpus, each with a prompt in front, or read their tokens from the cache."""
        key = hashlib.sha256(f"{corpus.fingerprint}\0{prompt}".encode()).hexdigest()[:32]
        return cls.from_texts((prompt + text for text in corpus.texts()), len(corpus), tokenizer, key)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Encoded:
        tokens = slice(self.offsets[number], self.offsets[number + 1])
        return Encoded(np.asarray(self.ids[tokens]), np.asarray(self.word_starts[tokens]))

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, without special tokens (int64, one per text)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class PaddedTexts:
    """A batch of texts with special tokens, truncated and padded to the same length."""

    ids: np.ndarray
    """Token ids (int64, batch x length)."""
    attention_mask: np.ndarray
    """Attention mask (bool, batch x length): False for padding."""
    word_ids: np.ndarray
    """Index of each token's word in the text (int64, batch x length); -1 for special tokens and padding."""


def batch_by_length(lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
    """Divide texts into batches of texts with similar length, longest first.

    Args:
        lengths: Number of tokens of each text, int64 ``(texts,)``.
        max_tokens: Maximum number of tokens of a batch, including padding. A batch has at least one text.

    Yields:
        Indices of the texts of each batch, int64.

    Example:
        >>> [batch.tolist() for batch in batch_by_length(np.array([1, 4, 2]), 4)]
        [[1], [2, 0]]
    """
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        batch_size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + batch_size]
        start += batch_size


def split_by_length(lengths: np.ndarray, pass_cost: int) -> list[np.ndarray]:
    """Divide the texts of a batch into parts of similar length, so that encoding all parts takes the least time.

    Each part is encoded in one forward pass. The time of a pass is estimated as the number of tokens of the part,
    including padding, plus ``pass_cost``. The best division is found by dynamic programming over the distinct lengths.

    Args:
        lengths: Number of tokens of each text, int64 ``(texts,)``.
        pass_cost: Fixed time of each forward pass, expressed as a number of tokens; a higher value gives fewer parts.

    Returns:
        Indices of the texts of each part, int64, shortest texts first.

    Example:
        >>> [part.tolist() for part in split_by_length(np.array([90, 10, 100, 12]), 50)]
        [[1, 3], [0, 2]]
    """
    order = np.argsort(lengths, kind="stable")
    distinct, counts = np.unique(lengths, return_counts=True)
    ends = np.cumsum(counts)  # number of texts up to each distinct length
    starts, best = np.concatenate([[0], ends]), np.zeros(len(ends) + 1)
    previous = np.zeros(len(ends) + 1, np.int64)
    for last, length in enumerate(distinct):
        costs = best[: last + 1] + (ends[last] - starts[: last + 1]) * int(length) + pass_cost
        previous[last + 1] = costs.argmin()
        best[last + 1] = costs.min()
    parts, end = list[np.ndarray](), len(ends)
    while end:
        begin = int(previous[end])
        parts.append(order[starts[begin] : starts[end]])
        end = begin
    return parts[::-1]


def pad_texts(texts: list[Encoded], tokenizer: Tokenizer, max_tokens: int) -> PaddedTexts:
    """Add the special tokens of the tokenizer's template to each text, truncate it and pad the batch.

    Args:
        texts: Tokenized texts.
        tokenizer: Tokenizer of the texts. Texts are truncated at the side that it defines (``truncation_side``).
        max_tokens: Maximum length, including special tokens.
    """
    before, after, _ = tokenizer.template
    capacity = max(0, max_tokens - tokenizer.num_special_tokens)
    lengths = np.array([min(len(text.ids), capacity) for text in texts], np.int64)
    ends = len(before) + lengths
    batch_length = max(1, int(lengths.max(initial=0)) + tokenizer.num_special_tokens)
    ids = np.full((len(texts), batch_length), tokenizer.special_id("pad"), np.int64)
    word_ids = np.full((len(texts), batch_length), -1, np.int64)
    ids[:, : len(before)] = before
    for row, (text, end) in enumerate(zip(texts, ends, strict=True)):
        kept = kept_tokens(len(text.ids), capacity, tokenizer)
        ids[row, len(before) : end] = text.ids[kept]
        ids[row, end : end + len(after)] = after
        word_ids[row, len(before) : end] = (np.cumsum(text.word_starts) - 1)[kept]
    word_ids[np.isin(ids, tokenizer.special_ids)] = -1  # also special tokens inside a text, such as unknown tokens
    return PaddedTexts(ids, np.arange(batch_length) < (ends + len(after))[:, None], word_ids)


def own_tokens(padded: PaddedTexts, prompt: np.ndarray, start: int) -> np.ndarray:
    """Return which tokens belong to the text itself: not to special tokens, padding or the prompt.

    Args:
        padded: The texts with special tokens and padding.
        prompt: Token ids of the prompt, int64. Tokens at the beginning of a text that match them are the prompt.
        start: Index of the first token of a text, behind the special tokens.

    Returns:
        bool, batch x length.
    """
    own = padded.word_ids >= 0
    if len(prompt):
        beginning = padded.ids[:, start : len(prompt) + start]
        is_prompt = np.logical_and.accumulate(beginning == prompt[: beginning.shape[1]], axis=1)
        own[:, start : len(prompt) + start] &= ~is_prompt
    return own


def kept_tokens(length: int, capacity: int, tokenizer: Tokenizer) -> slice:
    """Return which tokens remain of a text that is truncated to ``capacity`` tokens, at the tokenizer's side.

    Args:
        length: Number of tokens of the text.
        capacity: Maximum number of its tokens, without special tokens.
        tokenizer: The tokenizer.
    """
    return slice(max(0, length - capacity), length) if tokenizer.truncates_left else slice(0, min(length, capacity))


def _write(texts: Iterable[str], count: int, tokenizer: Tokenizer, folder: Path) -> None:
    """Tokenize texts, and write their token ids, word starts and text offsets to three files in ``folder``."""
    lengths: list[int] = []
    source: Iterator[str] = iter(texts)
    with (
        progress.task("Tokenizing", count, "texts") as task,
        (folder / "ids").open("wb") as ids,
        (folder / "starts").open("wb") as word_starts,
    ):
        while batch := list(islice(source, _BATCH_TEXTS)):
            for encoded in tokenizer.encode(batch):
                ids.write(encoded.ids.tobytes())
                word_starts.write(encoded.word_starts.tobytes())
                lengths.append(len(encoded.ids))
            task.advance(len(batch))
    np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64).tofile(folder / "offsets")


def _is_empty(file: Path) -> bool:
    return file.stat().st_size == 0  # an empty file cannot be memory-mapped
