"""Encoding of any number of texts in windows of a few thousand, sorted by length within each window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from encloze import progress
from encloze.data.records import Representation
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import batch_by_length

Side = Literal["query", "document"]
UNITS: dict[Side, str] = {"query": "queries", "document": "documents"}
"""Texts of each side in words, for progress bars and warnings."""
WINDOW = 4096  # texts that are sorted by length together
_TRUNCATED_SHARE = 0.01  # a smaller share of truncated texts gives no warning


@dataclass(frozen=True)
class TextKind:
    """How an encoder reads one kind of text: queries or documents."""

    unit: str
    """``queries`` or ``documents``, for progress bars and warnings."""
    prompt: str
    """Text put in front of every text."""
    max_tokens: int
    """Maximum length in tokens, including prompt and special tokens."""
    limit_name: str
    """Where the limit is set, for warnings: ``max_query_tokens of minilm``."""


def encode_texts(
    texts: Iterable[str],
    count: int,
    kind: TextKind,
    tokenizer: Tokenizer,
    views: Mapping[str, int],
    encode_batch: Callable[[list[Encoded]], Representation],
    *,
    batch_tokens: int,
    processor: str,
    warned: set[str] | None = None,
) -> Iterator[Representation]:
    """Encode texts, a few thousand at a time, and warn at the end if many were truncated.

    Args:
        texts: The texts, without prompt.
        count: Number of texts, for the progress bar.
        kind: How the texts are read.
        tokenizer: The tokenizer.
        views: Number of dimensions of each kind of vector that is computed: of ``dense``, ``sparse`` or both.
        encode_batch: Function that returns the vectors of a batch of tokenized texts of similar length, which it
            truncates to ``kind.max_tokens``.
        batch_tokens: Maximum number of tokens of a batch, including padding.
        processor: Where the model computes, for the title of the progress bar, such as ``on cuda``.
        warned: Units for which the warning was shown before, and is not shown again. It is updated.

    Yields:
        The vectors of at most 4,096 texts, in the order of the texts.
    """
    seen = set[str]() if warned is None else warned
    source, truncated = iter(texts), 0
    with progress.task(f"Encoding {kind.unit} {processor}", count, kind.unit) as bar:
        while window := [kind.prompt + text for text in islice(source, WINDOW)]:
            encoded, buffer = tokenizer.encode(window), _Buffer(len(window), views)
            lengths = np.array([len(text.ids) for text in encoded]) + tokenizer.num_special_tokens
            truncated += int((lengths > kind.max_tokens).sum())
            for rows in batch_by_length(np.minimum(lengths, kind.max_tokens), batch_tokens):
                buffer.put(rows, encode_batch([encoded[row] for row in rows]))
                bar.advance(len(rows))
            yield buffer.to_representation()
    if truncated > _TRUNCATED_SHARE * count and kind.unit not in seen:
        seen.add(kind.unit)
        progress.warn(
            f"{truncated / count:.1%} of the {kind.unit} ({truncated:,} of {count:,}) were truncated to "
            f"{kind.max_tokens} tokens ({kind.limit_name})"
        )


def count_tokens(texts: Sequence[str], kind: TextKind, tokenizer: Tokenizer) -> int:
    """Return how many tokens an encoder reads of texts: with prompt and special tokens, up to the length limit."""
    lengths = (
        len(text.ids) + tokenizer.num_special_tokens for text in tokenizer.encode([kind.prompt + t for t in texts])
    )
    return sum(min(length, kind.max_tokens) for length in lengths)


def concatenated(parts: Iterable[Representation], views: Mapping[str, int]) -> Representation:
    """Return the vectors of several parts in one object, also if there is no part."""
    return Representation.concatenate(list(parts) or [_Buffer(0, views).to_representation()])


class _Buffer:
    """Vectors of a fixed number of texts, which may be added in any order."""

    def __init__(self, count: int, views: Mapping[str, int]) -> None:
        self._count, self._views = count, views
        self._dense = np.empty((count, views["dense"]), np.float32) if "dense" in views else None
        self._rows, self._columns, self._weights = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()

    def put(self, rows: np.ndarray, vectors: Representation) -> None:
        if self._dense is not None:
            self._dense[rows] = vectors.dense
        if vectors.sparse is not None:
            self._rows.append(np.repeat(rows, np.diff(vectors.sparse.indptr)))
            self._columns.append(vectors.sparse.indices)
            self._weights.append(vectors.sparse.data)

    def to_representation(self) -> Representation:
        if "sparse" not in self._views:
            return Representation(self._dense)
        from scipy.sparse import csr_matrix  # a search with embeddings does not need it

        rows, columns, weights = (
            np.concatenate([np.empty(0, dtype), *parts])
            for dtype, parts in ((np.int64, self._rows), (np.int32, self._columns), (np.float32, self._weights))
        )
        return Representation(self._dense, csr_matrix((weights, (rows, columns)), (self._count, self._views["sparse"])))
