"""The batches that pre-training learns from: spans of texts, or pairs of them with their contexts."""

from __future__ import annotations

import numpy as np
import torch

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError
from encloze.models.layers.masking import TokenBatch
from encloze.text.contexts.base import Context, Material
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Role, Tokenizer
from encloze.text.tokens import Tokens, pad

LEAST_TOKENS = 6
"""A text of fewer, its two special tokens counted, has nothing to be rebuilt from."""

_FRAME: tuple[Role, ...] = ("first", "last", "pad")  # what is put around every text


class TextBatches:
    """Makes batches of examples: numbers of spans in, tensors out.

    With a context a batch has twice as many rows: the texts, then the context of each. Contexts are drawn from (seed,
    epoch, span), and their rows are numbered beyond the spans, so that their holes are others than the texts'.
    """

    def __init__(
        self, format_: Format, corpus: Corpus, tokenizer: Tokenizer, max_tokens: int, context: Context | None, seed: int
    ) -> None:
        self.tokenizer, self.max_tokens, self.seed = tokenizer, max_tokens, seed
        for role in _FRAME:
            tokenizer.id_of(role)  # raises CheckpointError: now, and not after long work
        tokens = Tokens.of(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
        self.spans = Spans.of(tokens, corpus, max_tokens, LEAST_TOKENS - 2)
        self._say_what_was_cut(len(corpus), str(format_.place()))
        self.pairs = None
        if context is None:
            self.usable, self.lengths = np.arange(len(self.spans)), self.spans.lengths + 2
        else:
            self.pairs = context.pairs(Material(self.spans, corpus, format_, tokenizer, max_tokens))
            self.usable, self.lengths = self.pairs.usable, 2 * (self.pairs.lengths + 2)

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
        """The batch of the spans with these numbers."""
        if self.pairs is None:
            return self._batch([self.spans[int(number)] for number in numbers], numbers, epoch, device)
        drawn = [self.pairs(int(n), np.random.default_rng([self.seed, epoch, int(n)])) for n in numbers]
        texts = [text for text, _ in drawn] + [context for _, context in drawn]
        return self._batch(texts, np.concatenate([numbers, numbers + len(self.spans)]), epoch, device)

    def _batch(self, texts: list[Encoded], numbers: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
        padded = pad(texts, self.tokenizer, self.max_tokens)
        sources = self.spans.group[numbers % len(self.spans)]
        arrays = (padded.ids, padded.attention, padded.words, numbers, sources)
        ids, attention, words, examples, groups = (torch.from_numpy(array).to(device) for array in arrays)
        return TokenBatch(ids, attention, words, examples, groups, self.seed, epoch)

    def _say_what_was_cut(self, texts: int, place: str) -> None:
        spans = self.spans
        if not len(spans):
            raise DataError(
                f"{place} has no text of {LEAST_TOKENS - 2} tokens or more to learn from (it has {texts:,} texts). "
                "Give longer texts, say by joining those that belong together"
            )
        parts = np.bincount(spans.texts, minlength=texts)
        if long := int((parts > 1).sum()):
            progress.note(
                f"{long:,} of {texts:,} texts are longer than {self.max_tokens} tokens: "
                f"they are learnt in {int(parts[parts > 1].sum()):,} parts"
            )
        if spans.left_out:
            progress.note(
                f"{spans.left_out:,} texts, or parts of long ones, of less than {LEAST_TOKENS - 2} tokens are left out"
            )
