"""Batches of pre-training: spans of texts, or pairs of a span and its context."""

from __future__ import annotations

import numpy as np
import torch

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, DataError
from encloze.models.layers.masking import TokenBatch
from encloze.text.contexts.base import Context, ContextInputs
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import TokenizedTexts, pad_texts

MIN_TOKENS = 6
"""Minimum number of tokens of a span, two special tokens included."""


class PretrainingBatches:
    """Creates batches of spans or, if ``context`` is set, of spans with their contexts.

    With contexts, a batch has twice as many rows: the spans, followed by the context of each span. The sampled contexts
    depend only on the seed, the epoch and the span. Masked tokens are sampled independently for spans and contexts.

    Args:
        format_: Format of the files of the corpus. Messages name its location, and contexts may read queries from it.
        corpus: Texts to train on.
        tokenizer: Tokenizer that adds one special token before and one after each text, and has a padding token.
        max_tokens: Maximum number of tokens of a span; longer texts are split.
        context: Context that selects the second text of each pair; None to train on single texts.
        seed: Seed for sampling contexts and masked tokens.

    Raises:
        CheckpointError: The tokenizer adds other special tokens, or has no padding token.
        DataError: All texts have fewer than 6 tokens, two special tokens included, or no span has a context.
    """

    def __init__(
        self, format_: Format, corpus: Corpus, tokenizer: Tokenizer, max_tokens: int, context: Context | None, seed: int
    ) -> None:
        self._tokenizer, self._max_tokens, self._seed = tokenizer, max_tokens, seed
        _check_special_tokens(tokenizer)  # before the corpus is tokenized
        tokens = TokenizedTexts.from_texts(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
        self.spans = Spans.from_tokens(tokens, corpus, max_tokens, MIN_TOKENS - 2)
        self._report_split_texts(len(corpus), str(format_.location()))
        self.pairs = None
        if context is None:
            self.usable, self.lengths = np.arange(len(self.spans)), self.spans.lengths + 2
        else:
            self.pairs = context.pairs(ContextInputs(self.spans, corpus, format_, tokenizer, max_tokens))
            self.usable, self.lengths = self.pairs.span_numbers, 2 * (self.pairs.lengths + 2)

    def __call__(self, indices: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
        """Return the batch of spans with the given indices (int64, ``(batch,)``)."""
        if self.pairs is None:
            return self._batch([self.spans[int(index)] for index in indices], indices, epoch, device)
        pairs = [self.pairs(int(n), np.random.default_rng([self._seed, epoch, int(n)])) for n in indices]
        texts = [text for text, _ in pairs] + [context for _, context in pairs]
        return self._batch(texts, np.concatenate([indices, indices + len(self.spans)]), epoch, device)

    def _batch(self, texts: list[Encoded], indices: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
        padded = pad_texts(texts, self._tokenizer, self._max_tokens)
        source_numbers = self.spans.source_numbers[indices % len(self.spans)]
        arrays = (padded.ids, padded.attention_mask, padded.word_ids, indices, source_numbers)
        ids, attention_mask, word_ids, examples, sources = (torch.from_numpy(array).to(device) for array in arrays)
        return TokenBatch(ids, attention_mask, word_ids, examples, sources, self._seed, epoch)

    def _report_split_texts(self, texts: int, location: str) -> None:
        """Report how many texts are split and how many spans are dropped. Raises DataError if no span is left."""
        spans, min_tokens = self.spans, MIN_TOKENS - 2
        if not len(spans):
            raise DataError(
                f"{location} has no text of {min_tokens} tokens or more (it has {texts:,} texts). Use longer texts, "
                "for example by joining related ones"
            )
        parts = np.bincount(spans.text_numbers, minlength=texts)
        if split := int((parts > 1).sum()):
            progress.note(
                f"{split:,} of {texts:,} texts are longer than {self._max_tokens} tokens and are split into "
                f"{int(parts[parts > 1].sum()):,} spans"
            )
        if spans.num_dropped:
            progress.note(f"{spans.num_dropped:,} spans of fewer than {min_tokens} tokens are dropped")


def _check_special_tokens(tokenizer: Tokenizer) -> None:
    """Raise CheckpointError if the tokenizer does not add one token before and one after a text, or has no padding."""
    tokenizer.special_id("pad")
    before, after, _ = tokenizer.template
    if (len(before), len(after)) != (1, 1):
        raise CheckpointError(
            f"pre-training needs a tokenizer that adds one special token before and one after each text, but this one "
            f"adds {len(before)} and {len(after)}. Set such a post_processor in its tokenizer.json"
        )
