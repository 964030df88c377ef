"""A model with a larger vocabulary: each new token starts as the mean of the pieces that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.text.new_words import extended, frequent_words
from encloze.text.tokenizer import Tokenizer
from encloze.text.training import Texts

_SAMPLE = 1000  # texts
_SHOWN = 8  # words


def with_new_words(backbone: Backbone, tokenizer: Tokenizer, texts: Texts, count: int) -> Tokenizer:
    """Give the model ``count`` words of the texts that its tokenizer cuts most; returns the tokenizer that has them.

    The backbone's model is changed in place. The texts are gone through once, and their beginning once more.
    """
    words = frequent_words(progress.track(texts(), "Looking for new words", unit="texts"), tokenizer, count)
    if not words:
        progress.note("No frequent word is cut into many pieces: the vocabulary stays as it is")
        return tokenizer
    after = extended(tokenizer, words)
    extend_vocabulary(backbone.model, tokenizer, after)
    sample = list(islice(texts(), _SAMPLE))
    was, now = (sum(len(encoded.ids) for encoded in made.encode(sample)) for made in (tokenizer, after))
    shown = ", ".join(words[:_SHOWN]) + " ..." * (len(words) > _SHOWN)
    progress.note(
        f"{len(words):,} words are one token each now: {shown}. "
        f"The first {len(sample):,} texts became {1 - now / max(was, 1):.1%} shorter"
    )
    return after


@torch.no_grad()
def extend_vocabulary(model: Any, before: Tokenizer, after: Tokenizer) -> None:
    """Give one of transformers' models, in place, rows for the tokens that ``after`` has and ``before`` had not.

    A new row of the embeddings, and of the head's matrix and bias where there is one, is the mean of the rows of the
    token's pieces. Rows of old tokens stay as they are, to the last bit, and what is tied stays tied. (transformers'
    own ``resize_token_embeddings`` mixes up the two biases of a head that is not tied: what it saves does not load.)
    """
    first = max(before.core.get_vocab(with_added_tokens=True).values()) + 1
    fresh = {number: token for token, number in after.core.get_vocab(with_added_tokens=True).items() if number >= first}
    pieces = {number: [piece.id for piece in before.core.model.tokenize(token)] for number, token in fresh.items()}
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = max([table.weight.shape[0], *(number + 1 for number in pieces)])  # some models have rows to spare
    for parameter in {id(found): found for found in _rows_of_tokens(model)}.values():  # what is tied is one parameter
        longer = parameter.new_zeros(rows, *parameter.shape[1:])
        longer[: len(parameter)] = parameter
        for number, of_token in pieces.items():
            longer[number] = parameter[of_token].mean(0)
        parameter.data = longer
    table.num_embeddings = model.config.vocab_size = rows
    if head is not None:
        head.out_features = rows


def _rows_of_tokens(model: Any) -> Iterator[nn.Parameter]:
    """The parameters that have a row for each token."""
    yield model.get_input_embeddings().weight
    if (head := model.get_output_embeddings()) is not None:
        yield head.weight
        # The bias is often held twice: by the matrix, and by the module around it.
        for module in (head, *(module for module in model.modules() if head in module.children())):
            if getattr(module, "bias", None) is not None:
                yield module.bias
