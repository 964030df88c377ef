"""Read labelled texts with a model: one row of numbers for each text, or for each of its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from encloze import progress
from encloze.models.precision import Precision, autocast
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import by_length
from encloze.text.words import Marked, PaddedMarks, pad_marked

_BATCH_TOKENS = 16384


class Reading(NamedTuple):
    """Texts as tensors, and the places of their words. Shapes: batch, length."""

    ids: Tensor  # int64, batch x length
    attention: Tensor  # bool, batch x length: no padding
    places: Tensor | None  # int64, words x 2: row and column of each one's first token; None: whole texts are meant

    @classmethod
    def of(cls, marks: PaddedMarks, device: torch.device) -> Reading:
        ids, attention = (torch.from_numpy(a).to(device) for a in (marks.padded.ids, marks.padded.attention))
        return cls(ids, attention, None if marks.places is None else torch.from_numpy(marks.places).to(device))

    def at_words(self, hidden: Tensor) -> Tensor:
        """What stands at the words: words x ..., of batch x length x ..."""
        assert self.places is not None, "words are meant"
        return hidden[self.places[:, 0], self.places[:, 1]]


@torch.inference_mode()
def read(
    texts: Sequence[Marked],
    model: Callable[[Reading], Tensor],
    tokenizer: Tokenizer,
    max_tokens: int,
    place: torch.device,
    precision: Precision,
    title: str,
) -> np.ndarray:
    """What ``model`` makes of texts: float32, labels x size, in order; NaN for words of which it sees nothing."""
    lengths = np.array([len(marked.text.ids) + 2 for marked in texts])
    counts = np.array([marked.labels for marked in texts])
    begins, found = np.cumsum(counts) - counts, np.empty((0, 0), np.float32)
    with progress.task(title, len(texts), "texts") as bar:
        for numbers in by_length(np.minimum(lengths, max_tokens), _BATCH_TOKENS):
            marks = pad_marked([texts[number] for number in numbers], tokenizer, max_tokens)
            with autocast(precision, place):
                rows = model(Reading.of(marks, place)).float().cpu().numpy()
            if not len(found):
                found = np.full((int(counts.sum()), rows.shape[1]), np.nan, np.float32)
            labels = np.concatenate([np.arange(begins[n], begins[n] + counts[n]) for n in numbers])
            found[labels[marks.kept]] = rows
            bar.advance(len(numbers))
    return found


def say_cut(texts: Sequence[Marked], max_tokens: int, name: str, unseen: str | None) -> None:
    """Warn of texts that are longer than the limit, and of words of which a model sees nothing."""
    if cut := sum(len(marked.text.ids) > max_tokens - 2 for marked in texts):
        progress.warn(
            f"{cut / len(texts):.1%} of the texts of {name} ({cut:,} of {len(texts):,}) are cut at {max_tokens} tokens "
            "(max_tokens)"
        )
    words = np.concatenate([np.empty(0, np.int64), *(m.first for m in texts if m.first is not None)])
    if lost := int(((words < 0) | (words >= max_tokens - 2)).sum()):
        progress.warn(
            f"{lost:,} of the {len(words):,} words of {name} are cut off or have no token: nothing is learnt from "
            f"them, and they count as {'guessed wrongly' if unseen is None else f'guessed as {unseen}'}"
        )
