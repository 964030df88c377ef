"""Tokenized texts with labels, and the position of the first token of each labeled word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encloze import progress
from encloze.data.records import LabeledText
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import PaddedTexts, kept_tokens, pad_texts

_BATCH_TEXTS = 1024


class LabeledTokens(NamedTuple):
    """A tokenized text that has one label, or one label per word. A word's label is assigned to its first token."""

    tokens: Encoded
    """The tokenized text."""
    first_tokens: np.ndarray | None
    """Index of the first token of each word (int64, one per word); -1 for a word to which no token belongs. None if the
    whole text has one label."""

    @property
    def num_labels(self) -> int:
        """Number of labels of the text: 1, or the number of its words."""
        return 1 if self.first_tokens is None else len(self.first_tokens)


class PaddedLabeledTexts(NamedTuple):
    """A batch of labeled texts with special tokens, truncated and padded to the same length."""

    padded: PaddedTexts
    """Token ids and attention mask of the texts, with special tokens and padding."""
    positions: np.ndarray | None
    """Row and column, in the batch, of the first token of each word that was not cut off (int64, words x 2). None if
    whole texts are labeled."""
    label_mask: np.ndarray
    """Whether each label has a token in the batch (bool, one per label): False for words that were cut off and words
    to which no token belongs."""


def encode_labeled(examples: Sequence[LabeledText], tokenizer: Tokenizer) -> list[LabeledTokens]:
    """Tokenize labeled texts.

    Words are joined by spaces and tokenized as one text, so that their tokens are the same as in running text. A token
    belongs to the word that contains the last character of the token, because some tokenizers include the space before
    a word in its first token.

    Args:
        examples: Labeled texts. Either all have one label per text, or all have one label per word.
        tokenizer: Tokenizer to use.
    """
    results = list[LabeledTokens]()
    with progress.task("Tokenizing", len(examples), "texts") as task:
        for start in range(0, len(examples), _BATCH_TEXTS):
            batch = examples[start : start + _BATCH_TEXTS]
            texts = [example.text for example in batch]
            if examples[0].words is None:
                results += [LabeledTokens(encoded, None) for encoded in tokenizer.encode(texts)]
            else:
                encodings = tokenizer.backend.encode_batch(texts, add_special_tokens=False)
                for example, encoding in zip(batch, encodings, strict=True):
                    encoded = Encoded(np.array(encoding.ids, np.int32), np.ones(len(encoding.ids), bool))
                    results.append(LabeledTokens(encoded, _first_tokens(example.words or (), encoding.offsets)))
            task.advance(len(batch))
    return results


def pad_labeled(texts: Sequence[LabeledTokens], tokenizer: Tokenizer, max_tokens: int) -> PaddedLabeledTexts:
    """Add special tokens to each text, truncate it and pad the batch.

    Args:
        texts: Tokenized texts with labels.
        tokenizer: Tokenizer of the texts.
        max_tokens: Maximum length, including the special tokens. Words beyond it are cut off.
    """
    padded, start = pad_texts([text.tokens for text in texts], tokenizer, max_tokens), len(tokenizer.template.before)
    if texts[0].first_tokens is None:
        return PaddedLabeledTexts(padded, None, np.ones(len(texts), bool))
    first_tokens = np.concatenate([kept_first_tokens(text, tokenizer, max_tokens) for text in texts])
    label_mask = first_tokens >= 0
    rows = np.repeat(np.arange(len(texts)), [text.num_labels for text in texts])
    return PaddedLabeledTexts(padded, np.stack([rows, first_tokens + start], axis=1)[label_mask], label_mask)


def kept_first_tokens(text: LabeledTokens, tokenizer: Tokenizer, max_tokens: int) -> np.ndarray:
    """Return the index of each word's first token in the truncated text (int64); -1 if it has none or is cut off.

    Args:
        text: A text whose words have labels.
        tokenizer: Tokenizer of the text.
        max_tokens: Maximum length, including the special tokens.
    """
    assert text.first_tokens is not None
    kept = kept_tokens(len(text.tokens.ids), max(0, max_tokens - tokenizer.num_special_tokens), tokenizer)
    is_kept = (text.first_tokens >= kept.start) & (text.first_tokens < kept.stop)
    return np.where(is_kept, text.first_tokens - kept.start, -1)


def _first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the index of the first token of each word (int64), or -1 for a word to which no token belongs.

    ``offsets`` are the character positions of each token in the words joined by spaces.
    """
    first_tokens = np.full(len(words), -1, np.int64)
    next_word_starts = np.cumsum([len(word) + 1 for word in words])
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    word = np.searchsorted(next_word_starts, ends - 1, side="right")
    is_inside = (starts < ends) & (ends < next_word_starts[np.minimum(word, len(words) - 1)])
    inside = np.flatnonzero(is_inside)
    word_numbers, indices = np.unique(word[inside], return_index=True)
    first_tokens[word_numbers] = inside[indices]
    return first_tokens
