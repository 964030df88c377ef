"""Check that a tokenizer knows the texts it is used for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from encloze import progress
from encloze.errors import CheckpointError
from encloze.text.tokenizer import Tokenizer

_CHECKED_TEXTS = 1000
_MANY, _NEARLY_ALL = 0.05, 0.9


def unknown_token_rate(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the fraction of unknown tokens in tokenized texts, from 0 to 1."""
    if "unk" not in tokenizer.special_tokens:
        return 0.0
    ids = np.concatenate([np.empty(0, np.int32), *(encoded.ids for encoded in tokenizer.encode(texts))])
    return float(np.mean(ids == tokenizer.special_id("unk"))) if len(ids) else 0.0


def check_coverage(tokenizer: Tokenizer, texts: Iterable[str], model: str) -> None:
    """Warn if many tokens of the first 1,000 texts are unknown to the tokenizer of an existing model.

    Args:
        tokenizer: The tokenizer of the model.
        texts: The texts that the model is trained on.
        model: Name of the model, for messages.

    Raises:
        CheckpointError: At least 90 % of the tokens are unknown, so that the model could learn nothing from the texts.
    """
    unknown = unknown_token_rate(tokenizer, list(islice(texts, _CHECKED_TEXTS)))
    message = f"{unknown:.0%} of the tokens of the texts are unknown to the tokenizer of {model}"
    remedy = "Use a model for the language of the texts, or train a new tokenizer and encoder (scratch)"
    if unknown >= _NEARLY_ALL:
        raise CheckpointError(f"{message}, so it cannot be trained on them. {remedy}")
    if unknown >= _MANY:
        progress.warn(f"{message}. {remedy}")
