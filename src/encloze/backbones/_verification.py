"""Check the parts found in a transformers model against a complete forward pass on a tiny input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from encloze.backbones._embeddings import embed_tokens, embed_vectors, first_layer_input, position_table

if TYPE_CHECKING:
    from encloze.backbones.base import Backbone

Part = Literal["mlm_head", "embeddings", "positions"]


def verified_parts(backbone: Backbone) -> frozenset[Part]:
    """Return the parts whose outputs agree with the complete model.

    The input is one text of 8 tokens. Gradients and dropout are off, and the global random state does not change.
    """
    model, vocabulary = backbone.model, int(backbone.config.vocab_size)
    middle = [number % vocabulary for number in range(vocabulary // 2, vocabulary // 2 + 9)]
    tokens = [number for number in middle if number != getattr(backbone.config, "pad_token_id", None)][:8]
    ids, was_training = torch.tensor([tokens], device=model.device), model.training
    checks: dict[Part, Callable[[Backbone, Tensor], bool]] = {
        "mlm_head": _check_mlm_head,
        "embeddings": _check_embeddings,
        "positions": _check_positions,
    }
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return frozenset(name for name, check in checks.items() if _passes(check, backbone, ids))
    finally:
        model.train(was_training)


def _check_mlm_head(backbone: Backbone, ids: Tensor) -> bool:
    head, attention = backbone.mlm_head(), torch.ones_like(ids)
    logits = backbone.model(input_ids=ids, attention_mask=attention).logits
    return isinstance(head.decoder, nn.Linear) and _close(head(backbone.encode(ids, attention)), logits)


def _check_embeddings(backbone: Backbone, ids: Tensor) -> bool:
    return _close(embed_tokens(backbone.encoder, ids), first_layer_input(backbone.encoder, ids))


def _check_positions(backbone: Backbone, ids: Tensor) -> bool:
    encoder = backbone.encoder
    embedded = embed_vectors(encoder, encoder.get_input_embeddings()(ids))
    # Position i as a vector at position j gives the same sum as position j at position i.
    swapped = embed_vectors(encoder, position_table(encoder, ids.shape[1]).flip(0)[None])
    return _close(embedded, first_layer_input(encoder, ids)) and _close(swapped, swapped.flip(1))


def _passes(check: Callable[[Backbone, Tensor], bool], backbone: Backbone, ids: Tensor) -> bool:
    try:
        return check(backbone, ids)
    except Exception:  # code of an unknown encoder family can raise any exception
        return False


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors agree to half of their significant digits."""
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.norm()
    return actual.shape == expected.shape and bool((actual - expected).norm() <= tolerance)
