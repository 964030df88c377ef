"""Add tokens to a model's vocabulary; each new embedding is the mean of the embeddings of its subword tokens."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.backbones.hf.smaller_models import token_parameters
from encloze.text.new_words import extend_tokenizer, frequent_words
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokenizer_training import Texts

_SAMPLE_SIZE = 1000  # texts
_SHOWN_WORDS = 8


def add_frequent_words(backbone: Backbone, tokenizer: Tokenizer, texts: Texts, count: int) -> Tokenizer:
    """Add to the vocabulary the words that reduce the number of tokens of the texts most.

    Args:
        backbone: The encoder; its model is changed in place.
        tokenizer: The encoder's tokenizer; it does not change.
        texts: Function that returns an iterator over the training texts. All texts are read once, and the first 1,000 a
            second time.
        count: Maximum number of new words.

    Returns:
        A tokenizer with the new words, or ``tokenizer`` itself if no word is added.

    Raises:
        CheckpointError: If the kind of tokenizer is not supported.

    Example:
        >>> tokenizer = add_frequent_words(backbone, tokenizer, corpus.texts, 500)
    """
    words = frequent_words(progress.track(texts(), "Searching for new words", unit="texts"), tokenizer, count)
    if not words:
        progress.note("No frequent word is split into several tokens: the vocabulary does not change")
        return tokenizer
    extended = extend_tokenizer(tokenizer, words)
    extend_vocabulary(backbone.model, tokenizer, extended)
    sample = list(islice(texts(), _SAMPLE_SIZE))
    before, after = (sum(len(encoded.ids) for encoded in each.encode(sample)) for each in (tokenizer, extended))
    shown = ", ".join(words[:_SHOWN_WORDS]) + " ..." * (len(words) > _SHOWN_WORDS)
    progress.note(
        f"{len(words):,} words added to the vocabulary: {shown}. The first {len(sample):,} texts have "
        f"{1 - after / max(before, 1):.1%} fewer tokens"
    )
    return extended


@torch.no_grad()
def extend_vocabulary(model: Any, before: Tokenizer, after: Tokenizer) -> None:
    """Add rows to the embeddings and the output layer of a transformers model, in place, for new tokens.

    In the embeddings, the output matrix and the output bias, the row of a new token is the mean of the rows of its
    subword tokens. Existing rows do not change, and tied parameters stay tied. The method ``resize_token_embeddings``
    of transformers is not used: it confuses the two biases of a head that is not tied to the embeddings, so the saved
    model cannot be loaded.

    Args:
        model: A transformers model.
        before: The tokenizer without the new tokens.
        after: The tokenizer with the new tokens.
    """
    first_new = max(before.backend.get_vocab(with_added_tokens=True).values()) + 1
    vocabulary = after.backend.get_vocab(with_added_tokens=True)
    new_tokens = {number: token for token, number in vocabulary.items() if number >= first_new}
    pieces = {number: [p.id for p in before.backend.model.tokenize(token)] for number, token in new_tokens.items()}
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = max([embeddings.weight.shape[0], *(number + 1 for number in pieces)])  # some models have unused rows
    unique = {id(parameter): parameter for parameter in token_parameters(model)}  # tied parameters are one object
    for parameter in unique.values():
        extended = parameter.new_zeros(rows, *parameter.shape[1:])
        extended[: len(parameter)] = parameter
        for number, subwords in pieces.items():
            extended[number] = parameter[subwords].mean(0)
        parameter.data = extended
    embeddings.num_embeddings = model.config.vocab_size = rows
    if head is not None:
        head.out_features = rows
