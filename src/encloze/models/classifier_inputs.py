"""Apply a classifier to labeled texts in batches. The output has one row for each text, or for each word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from encloze import progress
from encloze.models.device import batch_tokens
from encloze.models.precision import Precision, autocast, on_processor
from encloze.text.labeled import LabeledTokens, PaddedLabeledTexts, kept_first_tokens, pad_labeled
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import batch_by_length


class ClassifierInput(NamedTuple):
    """A padded batch of texts and, if each word has a label, the positions of the words."""

    ids: Tensor
    """Token ids (int64, batch x length)."""
    attention_mask: Tensor
    """True for all tokens except padding (bool, batch x length)."""
    word_positions: Tensor | None
    """Row and column in ``ids`` of each word's first token (int64, words x 2). None if whole texts have labels."""

    @classmethod
    def from_padded(cls, texts: PaddedLabeledTexts, device: torch.device) -> ClassifierInput:
        """Create a batch of tensors on a device from padded texts."""
        ids, mask = (torch.from_numpy(a).to(device) for a in (texts.padded.ids, texts.padded.attention_mask))
        positions = texts.positions
        return cls(ids, mask, None if positions is None else torch.from_numpy(positions).to(device))

    def select_words(self, hidden: Tensor) -> Tensor:
        """Return the vector of each word's first token (words x size) from ``hidden`` (batch x length x size)."""
        assert self.word_positions is not None, "whole texts have labels"
        return hidden[self.word_positions[:, 0], self.word_positions[:, 1]]


@torch.inference_mode()
def run_in_batches(
    texts: Sequence[LabeledTokens],
    model: Callable[[ClassifierInput], Tensor],
    tokenizer: Tokenizer,
    max_tokens: int,
    device: torch.device,
    precision: Precision,
    title: str,
) -> np.ndarray:
    """Apply a model to texts, in batches of texts with similar lengths.

    Args:
        texts: Tokenized texts with the positions of their words.
        model: Function that returns one row for each text (or labeled word) of a batch.
        tokenizer: The model's tokenizer.
        max_tokens: The length to which texts are truncated.
        device: The device of the model.
        precision: Precision of matrix multiplications.
        title: The title of the progress bar.

    Returns:
        The rows that ``model`` returned for all texts or words, in the order of the texts (float32, 2-dimensional).
        Rows of words that are truncated or have no token are NaN.
    """
    lengths = np.array([len(text.tokens.ids) + tokenizer.num_special_tokens for text in texts])
    counts = np.array([text.num_labels for text in texts])
    first_labels, outputs = np.cumsum(counts) - counts, np.empty((0, 0), np.float32)
    with progress.task(f"{title} {on_processor(device)}", len(texts), "texts") as bar:
        for numbers in batch_by_length(np.minimum(lengths, max_tokens), batch_tokens(device)):
            padded = pad_labeled([texts[number] for number in numbers], tokenizer, max_tokens)
            with autocast(precision, device):
                rows = model(ClassifierInput.from_padded(padded, device)).float().cpu().numpy()
            if not len(outputs):
                outputs = np.full((int(counts.sum()), rows.shape[1]), np.nan, np.float32)
            labels = np.concatenate([np.arange(first_labels[n], first_labels[n] + counts[n]) for n in numbers])
            outputs[labels[padded.label_mask]] = rows
            bar.advance(len(numbers))
    return outputs


def warn_truncated(
    texts: Sequence[LabeledTokens], tokenizer: Tokenizer, max_tokens: int, name: str, default_label: str | None
) -> None:
    """Warn about texts longer than the limit, and about words that are truncated or have no token.

    Args:
        texts: Tokenized texts.
        tokenizer: Their tokenizer.
        max_tokens: The length limit.
        name: What the texts are in the warning, such as the name of their split.
        default_label: The label that words get as prediction if they are truncated or have no token. None: such words
            get no prediction, and the evaluation counts them as errors.
    """
    if truncated := sum(len(text.tokens.ids) + tokenizer.num_special_tokens > max_tokens for text in texts):
        progress.warn(
            f"{truncated / len(texts):.1%} of the texts of {name} ({truncated:,} of {len(texts):,}) are truncated to "
            f"{max_tokens} tokens (max_tokens)"
        )
    firsts = [kept_first_tokens(text, tokenizer, max_tokens) for text in texts if text.first_tokens is not None]
    words = np.concatenate([np.empty(0, np.int64), *firsts])
    if unseen := int((words < 0).sum()):
        prediction = (
            "their predictions count as wrong" if default_label is None else f"they are labeled {default_label}"
        )
        progress.warn(
            f"{unseen:,} of the {len(words):,} words of {name} are truncated or have no token: they are not used in "
            f"training, and in evaluation {prediction}"
        )
