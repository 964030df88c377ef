"""Term weights equal their definitions, computed directly from the logits of all positions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import toys
from encloze.backbones.base import MlmHead
from encloze.models.layers.term_weights import (
    Activation,
    apply_activation,
    keep_top_k,
    lexical_term_weights,
    max_logits,
    summed_term_weights,
)

HIDDEN_SIZE, VOCABULARY = 8, 30


def build_head(*, bias: bool = True, dtype: torch.dtype = torch.float64) -> MlmHead:
    """A head with random weights, with or without a bias of the last layer."""
    torch.manual_seed(0)
    transform = nn.Sequential(nn.Linear(HIDDEN_SIZE, 6), nn.GELU(), nn.LayerNorm(6))
    head = MlmHead(transform, nn.Linear(6, VOCABULARY, bias=bias)).to(dtype)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def random_hidden(dtype: torch.dtype = torch.float64, length: int = 7) -> tuple[Tensor, Tensor]:
    """Hidden states of three texts, and masks of positions: all, some, and one."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, length, HIDDEN_SIZE, generator=generator).to(dtype).requires_grad_()
    positions = torch.rand(3, length, generator=generator) < 0.5
    positions[0], positions[1, :2], positions[2] = True, torch.tensor([False, True]), torch.arange(length) == 4
    return hidden, positions


def naive_max_logits(hidden: Tensor, positions: Tensor, head: MlmHead, logit_bias: float = 0.0) -> Tensor:
    logits: Tensor = head(hidden) + logit_bias
    return logits.masked_fill(~positions[:, :, None], -math.inf).max(dim=1).values


def naive_summed_term_weights(hidden: Tensor, positions: Tensor, head: MlmHead, logit_bias: float = 0.0) -> Tensor:
    weights: Tensor = (head(hidden) + logit_bias).relu().log1p() * positions[:, :, None]
    return weights.sum(dim=1)


def gradients(result: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Gradients of a randomly weighted sum of all entries."""
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((result * weights.to(result.dtype)).sum(), inputs, retain_graph=True))


@pytest.mark.parametrize("logit_bias", [0.0, -0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_pooled_logits_and_their_gradients_equal_the_definitions(bias: bool, logit_bias: float) -> None:
    head = build_head(bias=bias)
    hidden, positions = random_hidden()
    inputs = [hidden, *head.parameters()]
    for function, naive in ((max_logits, naive_max_logits), (summed_term_weights, naive_summed_term_weights)):
        result, expected = function(hidden, positions, head, logit_bias), naive(hidden, positions, head, logit_bias)
        assert result.dtype == torch.float64 and result.shape == (3, VOCABULARY)
        torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
        for gradient, other in zip(gradients(result, *inputs), gradients(expected, *inputs), strict=True):
            torch.testing.assert_close(gradient, other, atol=1e-11, rtol=1e-11)
        assert not gradients(result, hidden)[0][~positions].any()


def test_max_logits_have_the_gradients_of_tied_embeddings() -> None:
    backbone = toys.backbone(50).double()
    ids, attention_mask = torch.randint(5, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    parameters = list(backbone.parameters())
    result, expected = (
        function(backbone.encode(ids, attention_mask), attention_mask, backbone.mlm_head())
        for function in (max_logits, naive_max_logits)
    )
    for gradient, other in zip(gradients(result, *parameters), gradients(expected, *parameters), strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-10, rtol=1e-8)


def test_a_frozen_head_passes_gradients_to_hidden_states() -> None:
    head = build_head().requires_grad_(False)
    hidden, positions = random_hidden()
    assert gradients(max_logits(hidden, positions, head), hidden)[0][positions].any()
    with torch.no_grad():
        assert not max_logits(hidden, positions, head).requires_grad


def test_max_logits_under_autocast_are_close_and_float32() -> None:
    head = build_head(dtype=torch.float32)
    hidden, positions = random_hidden(torch.float32)
    inputs = [hidden, *head.parameters()]
    exact = naive_max_logits(hidden, positions, head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, logits = max_logits(hidden, positions, head), head(hidden)
    assert rounded.dtype == torch.float32 and logits.dtype == torch.bfloat16
    assert 1e-4 < float((rounded - exact).detach().abs().max()) < 0.1
    for gradient, other, tensor in zip(gradients(rounded, *inputs), gradients(exact, *inputs), inputs, strict=True):
        assert gradient.dtype == tensor.dtype
        # If two positions have almost equal logits, rounding may send the gradient to the other one.
        assert F.cosine_similarity(gradient.flatten(), other.flatten(), dim=0) > 0.95
        assert float(gradient.norm()) == pytest.approx(float(other.norm()), rel=0.1)


def test_max_logits_of_bfloat16_hidden_states_are_float32() -> None:
    head = MlmHead(nn.Identity(), nn.Linear(HIDDEN_SIZE, VOCABULARY)).bfloat16()
    hidden, positions = random_hidden(torch.bfloat16)
    assert max_logits(hidden, positions, head).dtype == torch.float32
    assert gradients(max_logits(hidden, positions, head), hidden)[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("raw", [-2.0, 0.0, 0.5, 3.0]),
        ("relu", [0.0, 0.0, 0.5, 3.0]),
        ("log1p_relu", [0.0, 0.0, math.log(1.5), math.log(4.0)]),
    ],
)
def test_activations_equal_their_definitions(activation: Activation, expected: list[float]) -> None:
    logits = torch.tensor([[-2.0, 0.0, 0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    weights = apply_activation(logits, activation)
    assert weights[0].tolist() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(weights.sum(), logits)
    positive = [1 / 1.5, 1 / 4] if activation == "log1p_relu" else [1, 1]
    assert gradient[0].tolist() == pytest.approx([1, 1, 1, 1] if activation == "raw" else [0, 0, *positive])


def test_keep_top_k_keeps_the_largest_weights_and_their_gradients() -> None:
    weights = torch.rand(3, 20, dtype=torch.float64, requires_grad=True)
    pruned = keep_top_k(weights, 4)
    for row, pruned_row in zip(weights.tolist(), pruned.tolist(), strict=True):
        threshold = sorted(row)[-4]
        assert pruned_row == [value if value >= threshold else 0 for value in row]
    (gradient,) = torch.autograd.grad((pruned * torch.arange(60).view(3, 20)).sum(), weights)
    assert torch.equal(gradient, torch.arange(60).view(3, 20) * (pruned != 0))
    assert (pruned != 0).sum() == 12
    for k in (None, 20, 768):
        assert keep_top_k(weights, k) is weights


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("logit_bias", [0.0, -0.3])
def test_lexical_term_weights_are_those_of_contained_tokens(logit_bias: float, bias: bool, summed: bool) -> None:
    head = build_head(bias=bias)
    hidden, positions = random_hidden()
    ids = torch.tensor([[3, 7, 3, 3, 9, 0, 7], [5, 1, 2, 5, 5, 1, 4], [8, 8, 8, 8, 8, 8, 8]])
    content = torch.tensor([[1, 1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0, 0]]).bool()
    contained = torch.zeros(3, VOCABULARY, dtype=torch.float64)
    for row, column in itertools.product(range(3), range(7)):
        if content[row, column]:
            contained[row, ids[row, column]] = 1
    if summed:
        weights = summed_term_weights(hidden, positions, head, logit_bias)
    else:
        weights = apply_activation(max_logits(hidden, positions, head, logit_bias), "log1p_relu")
    expected = weights * contained
    result = lexical_term_weights(hidden, positions, ids, content, head, logit_bias, summed=summed)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)
    inputs = [hidden, *head.parameters()]
    for gradient, other in zip(gradients(result, *inputs), gradients(expected, *inputs), strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-11, rtol=0)
