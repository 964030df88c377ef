"""Check which parts of a transformers model give correct outputs if encloze calls them outside the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from encloze.backbones._embeddings import embed_tokens, embed_vectors, first_layer_input, position_table

Part = Literal["mlm_head", "embeddings", "positions"]


def verified_parts(model: Any, get_mlm_head: Callable[[], Any]) -> frozenset[Part]:
    """Return the names of the model's parts that give correct outputs if they are called directly.

    The parts are the MLM head, the token embeddings and the position embeddings. Each part is called without the rest
    of the model, and its output is compared with the output of the same part in a complete forward pass. A part is
    left out if the outputs differ or its check raises an exception. The input is one text of 8 tokens. Gradients and
    dropout are off, and the global random state does not change.

    Args:
        model: The transformers model.
        get_mlm_head: Function that returns the MLM head of the model; it may raise any exception.
    """
    encoder, was_training, ids = model.base_model, model.training, _tiny_input(model)
    checks: dict[Part, Callable[[], bool]] = {
        "mlm_head": lambda: _check_mlm_head(model, get_mlm_head(), ids),
        "embeddings": lambda: _close(embed_tokens(encoder, ids), first_layer_input(encoder, ids)),
        "positions": lambda: _check_positions(encoder, ids),
    }
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return frozenset(name for name, check in checks.items() if _passes(check))
    finally:
        model.train(was_training)


@torch.no_grad()
def is_causal(encoder: Any) -> bool:
    """Return whether the state of a token depends only on the tokens before it, from the states of a tiny input."""
    ids, was_training = _tiny_input(encoder), encoder.training
    encoder.eval()
    with torch.random.fork_rng(devices=[]):
        states, shortened = (encoder(input_ids=each).last_hidden_state[:, 0] for each in (ids, ids[:, :4]))
    encoder.train(was_training)
    return _close(shortened, states)


def _tiny_input(model: Any) -> Tensor:
    """Return the ids of a text of 8 tokens that are not padding (int64, 1 x 8)."""
    vocabulary = int(model.config.vocab_size)
    middle = [number % vocabulary for number in range(vocabulary // 2, vocabulary // 2 + 9)]
    tokens = [number for number in middle if number != getattr(model.config, "pad_token_id", None)][:8]
    return torch.tensor([tokens], device=model.device)


def _check_mlm_head(model: Any, head: Any, ids: Tensor) -> bool:
    attention_mask = torch.ones_like(ids)
    hidden = model.base_model(input_ids=ids, attention_mask=attention_mask).last_hidden_state
    logits = model(input_ids=ids, attention_mask=attention_mask).logits
    return isinstance(head.decoder, nn.Linear) and _close(head(hidden), logits)


def _check_positions(encoder: Any, ids: Tensor) -> bool:
    embedded = embed_vectors(encoder, encoder.get_input_embeddings()(ids))
    # Position i as a vector at position j gives the same sum as position j at position i.
    swapped = embed_vectors(encoder, position_table(encoder, ids.shape[1]).flip(0)[None])
    return _close(embedded, first_layer_input(encoder, ids)) and _close(swapped, swapped.flip(1))


def _passes(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # code of an unknown encoder family can raise any exception
        return False


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal within a relative tolerance: the square root of the machine epsilon."""
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.norm()
    return actual.shape == expected.shape and bool((actual - expected).norm() <= tolerance)
