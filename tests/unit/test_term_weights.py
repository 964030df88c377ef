"""Highest logits, bags of tokens and contrast: each the same as its definition, written out without any care."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import toys
from encloze.backbones.base import VocabularyHead
from encloze.models.layers.bags import bag_loss, distinct_tokens
from encloze.models.layers.contrast import contrast
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.term_weights import (
    Activation,
    activated,
    highest_logits,
    largest,
    own_weights,
    summed_weights,
)

WIDTH, VOCABULARY = 8, 30


def head(*, bias: bool = True, kind: torch.dtype = torch.float64) -> VocabularyHead:
    """A transformation, and a matrix with or without a bias."""
    torch.manual_seed(0)
    transform = nn.Sequential(nn.Linear(WIDTH, 6), nn.GELU(), nn.LayerNorm(6))
    made = VocabularyHead(transform, nn.Linear(6, VOCABULARY, bias=bias)).to(kind)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def texts(kind: torch.dtype = torch.float64, length: int = 7) -> tuple[Tensor, Tensor]:
    """Hidden states, and the places that speak: many, some, one."""
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, length, WIDTH, generator=draw).to(kind).requires_grad_()
    places = torch.rand(3, length, generator=draw) < 0.5
    places[0], places[1, :2], places[2] = True, torch.tensor([False, True]), torch.arange(length) == 4
    return hidden, places


def naive_highest(hidden: Tensor, places: Tensor, made: VocabularyHead) -> Tensor:
    logits: Tensor = made(hidden)
    return logits.masked_fill(~places[:, :, None], -math.inf).max(dim=1).values


def slopes(found: Tensor, *of: Tensor) -> list[Tensor]:
    """The gradients of a sum in which each entry weighs something else."""
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((found * weights.to(found.dtype)).sum(), of, retain_graph=True))


@pytest.mark.parametrize("bias", [True, False])
def test_highest_logits_are_the_maximum_over_the_places(bias: bool) -> None:
    made = head(bias=bias)
    hidden, places = texts()
    found, expected = (of(hidden, places, made) for of in (highest_logits, naive_highest))
    assert found.dtype == torch.float64 and found.shape == (3, VOCABULARY)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    of = [hidden, *made.parameters()]
    for slope, wanted in zip(slopes(found, *of), slopes(expected, *of), strict=True):
        torch.testing.assert_close(slope, wanted, atol=1e-12, rtol=0)
    assert not slopes(found, hidden)[0][~places].any()  # what does not speak does not learn


def test_highest_logits_teach_a_matrix_that_is_the_embeddings_as_well() -> None:
    backbone = toys.backbone(50).double()
    ids, attention = torch.randint(5, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    parameters = list(backbone.parameters())
    both = [of(backbone.encode(ids, attention), attention, backbone.head()) for of in (highest_logits, naive_highest)]
    for slope, wanted in zip(slopes(both[0], *parameters), slopes(both[1], *parameters), strict=True):
        torch.testing.assert_close(slope, wanted, atol=1e-10, rtol=1e-8)


def test_highest_logits_that_nobody_learns_from_leave_nothing_behind() -> None:
    made = head().requires_grad_(False)
    hidden, places = texts()
    (slope,) = slopes(highest_logits(hidden, places, made), hidden)  # a frozen head still hands gradients on
    assert slope[places].any()
    with torch.no_grad():
        assert not highest_logits(hidden, places, made).requires_grad


def test_highest_logits_in_bfloat16_are_close_and_float32_where_they_are_summed() -> None:
    made = head(kind=torch.float32)
    hidden, places = texts(torch.float32)
    of = [hidden, *made.parameters()]
    exact = naive_highest(hidden, places, made)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, plain = highest_logits(hidden, places, made), made(hidden)
    assert rough.dtype == torch.float32 and plain.dtype == torch.bfloat16
    assert 1e-4 < float((rough - exact).detach().abs().max()) < 0.1
    for slope, wanted, parameter in zip(slopes(rough, *of), slopes(exact, *of), of, strict=True):
        assert slope.dtype == parameter.dtype
        # Where two places are all but equal, the gradient may go to the other one.
        assert F.cosine_similarity(slope.flatten(), wanted.flatten(), dim=0) > 0.95
        assert float(slope.norm()) == pytest.approx(float(wanted.norm()), rel=0.1)


def test_highest_logits_of_bfloat16_states_are_float32() -> None:
    made = VocabularyHead(nn.Identity(), nn.Linear(WIDTH, VOCABULARY)).bfloat16()
    hidden, places = texts(torch.bfloat16)
    assert highest_logits(hidden, places, made).dtype == torch.float32
    assert slopes(highest_logits(hidden, places, made), hidden)[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("raw", [-2.0, 0.0, 0.5, 3.0]),
        ("relu", [0.0, 0.0, 0.5, 3.0]),
        ("log1p_relu", [0.0, 0.0, math.log(1.5), math.log(4.0)]),
    ],
)
def test_logits_become_weights(activation: Activation, expected: list[float]) -> None:
    logits = torch.tensor([[-2.0, 0.0, 0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    weights = activated(logits, activation)
    assert weights[0].tolist() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(weights.sum(), logits)
    risen = [1 / 1.5, 1 / 4] if activation == "log1p_relu" else [1, 1]
    assert slope[0].tolist() == pytest.approx([1, 1, 1, 1] if activation == "raw" else [0, 0, *risen])


def test_only_the_largest_weights_are_kept_and_learn() -> None:
    weights = torch.rand(3, 20, dtype=torch.float64, requires_grad=True)
    kept = largest(weights, 4)
    for row, own in zip(weights.tolist(), kept.tolist(), strict=True):
        least = sorted(row)[-4]
        assert own == [value if value >= least else 0 for value in row]
    (slope,) = torch.autograd.grad((kept * torch.arange(60).view(3, 20)).sum(), weights)
    assert torch.equal(slope, torch.arange(60).view(3, 20) * (kept != 0))
    assert (kept != 0).sum() == 12
    for count in (None, 20, 768):
        assert largest(weights, count) is weights


def test_a_bag_holds_each_token_of_a_text_once_and_no_special_ones() -> None:
    ids = torch.tensor([[1, 7, 9, 7, 29, 2, 0], [1, 5, 3, 6, 2, 0, 0]])
    words = torch.tensor([[-1, 0, 0, 1, 2, -1, -1], [-1, 0, -1, 1, -1, -1, -1]])  # a special one inside the second
    held = distinct_tokens(TokenBatch(ids, ids != 0, words, torch.arange(2), torch.arange(2)), VOCABULARY)
    assert held.shape == (2, VOCABULARY) and held.dtype == torch.bool
    assert [row.nonzero().flatten().tolist() for row in held] == [[7, 9, 29], [5, 6]]


def test_the_loss_of_a_bag_is_the_summed_surprise_of_its_tokens() -> None:
    logits = torch.randn(4, VOCABULARY, dtype=torch.float64, requires_grad=True)
    held, share = torch.rand(4, VOCABULARY) < 0.3, torch.tensor([0.1, 1.0, 2.0, 0.5], dtype=torch.float64)
    held[3] = False
    total = bag_loss(logits, held, share)
    expected = torch.zeros((), dtype=torch.float64)
    for row, token in itertools.product(range(4), range(VOCABULARY)):
        if held[row, token]:
            chance = torch.exp(logits[row, token]) / torch.exp(logits[row]).sum()
            expected = expected - share[row] * torch.log(chance)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, logits), torch.autograd.grad(expected, logits))
    large = bag_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[True, True]]), torch.ones(1))
    assert float(large) == 2e4  # no overflow


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_contrast_is_the_cross_entropy_of_finding_the_partner(normalise: bool, temperature: float) -> None:
    pairs = torch.randn(5, 2, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    pairs[:3, 1] += pairs[:3, 0]  # some find each other
    pairs.requires_grad_()
    sources = [7, 1, 2, 1, 4]
    total, right = contrast(pairs, torch.tensor(sources), temperature, normalise=normalise)
    everyone = list(itertools.product(range(5), range(2)))
    expected, found = torch.zeros((), dtype=torch.float64), 0
    for pair, side in everyone:
        scores: dict[tuple[int, int], Tensor] = {}
        for other in everyone:
            if other == (pair, 1 - side) or sources[other[0]] != sources[pair]:
                product = pairs[pair, side] @ pairs[other]
                if normalise:
                    product = product / (pairs[pair, side].norm() * pairs[other].norm())
                scores[other] = product / temperature
        partner = scores[pair, 1 - side]
        expected = expected - torch.log(torch.exp(partner) / torch.stack([*scores.values()]).exp().sum())
        found += bool(partner == max(scores.values()))
    torch.testing.assert_close(total, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
    assert int(right) == found and 3 < found < 10
    (slope,), (wanted,) = torch.autograd.grad(total, pairs), torch.autograd.grad(expected, pairs)
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-5)


def test_contrast_is_whole_in_bfloat16_and_alone() -> None:
    pairs = torch.randn(6, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    apart = torch.arange(6)
    exact, _ = contrast(pairs, apart, 0.05, normalise=True)
    rough, _ = contrast(pairs.bfloat16(), apart, 0.05, normalise=True)
    assert rough.dtype == torch.float32 and float(rough) == pytest.approx(float(exact), rel=0.02)
    total, right = contrast(pairs[:1], apart[:1], 0.05, normalise=True)  # nobody else to be mistaken for
    assert float(total) == 0 and int(right) == 2


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_weights_of_own_tokens_are_those_among_all(shift: float, bias: bool, summed: bool) -> None:
    made = head(bias=bias)
    hidden, places = texts()
    tokens = torch.tensor([[3, 7, 3, 3, 9, 0, 7], [5, 1, 2, 5, 5, 1, 4], [8, 8, 8, 8, 8, 8, 8]])
    own = torch.tensor([[1, 1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0, 0]]).bool()
    held = torch.zeros(3, VOCABULARY, dtype=torch.float64)
    for row, token in itertools.product(range(3), range(7)):
        held[row, tokens[row, token]] += own[row, token]
    whole = summed_weights(hidden, places, made, shift) if summed else None
    if whole is None:
        whole = activated(highest_logits(hidden, places, made, shift), "log1p_relu")
    expected = whole * held.clamp(max=1)
    found = own_weights(hidden, places, tokens, own, made, shift, summed=summed)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    of = [hidden, *made.parameters()]
    for one, other in zip(slopes(found, *of), slopes(expected, *of), strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)
