"""Words in tokenised texts: where the first token of each stands, as labels of words need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encloze import progress
from encloze.data.records import Labelled
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import Padded, pad

_TEXTS = 1024


class Marked(NamedTuple):
    """A tokenised text, and what in it has labels."""

    text: Encoded
    first: np.ndarray | None
    """int64, words: the place of each word's first token, -1 where it has none; None: the whole text has one label."""

    @property
    def labels(self) -> int:
        """How many labels it has."""
        return 1 if self.first is None else len(self.first)


class PaddedMarks(NamedTuple):
    """Marked texts as a rectangle, special tokens added and cut to a limit."""

    padded: Padded
    places: np.ndarray | None  # int64, words that are left x 2: row and column of each one's first token
    kept: np.ndarray  # bool, labels: whether what has the label is left


def encode_marked(examples: Sequence[Labelled], tokenizer: Tokenizer) -> list[Marked]:
    """The texts as token ids with the places of their words.

    Words are read as a text with blanks between them, so a tokenizer of any kind makes of them what it makes of text;
    a token belongs to the word that its last letter is in, because some take the blank before a word into it.
    """
    found = list[Marked]()
    with progress.task("Tokenising", len(examples), "texts") as bar:
        for start in range(0, len(examples), _TEXTS):
            part = examples[start : start + _TEXTS]
            texts = [example.text for example in part]
            if examples[0].words is None:
                found += [Marked(encoded, None) for encoded in tokenizer.encode(texts)]
            else:
                encodings = tokenizer.core.encode_batch(texts, add_special_tokens=False)
                for example, encoding in zip(part, encodings, strict=True):
                    encoded = Encoded(np.array(encoding.ids, np.int32), np.ones(len(encoding.ids), bool))
                    found.append(Marked(encoded, _first_tokens(example.words or (), encoding.offsets)))
            bar.advance(len(part))
    return found


def pad_marked(texts: Sequence[Marked], tokenizer: Tokenizer, max_tokens: int) -> PaddedMarks:
    """Put the special tokens around each text and cut it to ``max_tokens`` in all; words may be cut off."""
    padded = pad([marked.text for marked in texts], tokenizer, max_tokens)
    if texts[0].first is None:
        return PaddedMarks(padded, None, np.ones(len(texts), bool))
    first = np.concatenate([marked.first for marked in texts if marked.first is not None])
    kept = (first >= 0) & (first < max_tokens - 2)
    rows = np.repeat(np.arange(len(texts)), [marked.labels for marked in texts])
    return PaddedMarks(padded, np.stack([rows, first + 1], axis=1)[kept], kept)


def _first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """The place of each word's first token, -1 where none is its own: int64, words."""
    found = np.full(len(words), -1, np.int64)
    nexts = np.cumsum([len(word) + 1 for word in words])  # where the word after each begins
    begins, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    word = np.searchsorted(nexts, ends - 1, side="right")
    inside = np.flatnonzero((begins < ends) & (ends < nexts[np.minimum(word, len(words) - 1)]))
    which, at = np.unique(word[inside], return_index=True)
    found[which] = inside[at]
    return found
