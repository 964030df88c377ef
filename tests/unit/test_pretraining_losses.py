"""The bag-of-words loss and the in-batch contrastive loss equal their definitions, computed element by element."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from encloze.models.layers.bag_of_words import bag_of_words_loss, multi_hot
from encloze.models.layers.contrastive_loss import in_batch_contrastive_loss
from encloze.models.layers.masking import TokenBatch

DIM, VOCABULARY = 8, 30


def test_multi_hot_marks_each_token_of_a_text_and_no_special_token() -> None:
    ids = torch.tensor([[1, 7, 9, 7, 29, 2, 0], [1, 5, 3, 6, 2, 0, 0]])
    word_ids = torch.tensor([[-1, 0, 0, 1, 2, -1, -1], [-1, 0, -1, 1, -1, -1, -1]])  # the second has one inside
    tokens = multi_hot(TokenBatch(ids, ids != 0, word_ids, torch.arange(2), torch.arange(2)), VOCABULARY)
    assert tokens.shape == (2, VOCABULARY) and tokens.dtype == torch.bool
    assert [row.nonzero().flatten().tolist() for row in tokens] == [[7, 9, 29], [5, 6]]


def test_bag_of_words_loss_is_the_weighted_sum_of_negative_log_likelihoods() -> None:
    logits = torch.randn(4, VOCABULARY, dtype=torch.float64, requires_grad=True)
    tokens = torch.rand(4, VOCABULARY) < 0.3
    token_weights = torch.tensor([0.1, 1.0, 2.0, 0.5], dtype=torch.float64)
    tokens[3] = False
    loss = bag_of_words_loss(logits, tokens, token_weights)
    expected = torch.zeros((), dtype=torch.float64)
    for row, token in itertools.product(range(4), range(VOCABULARY)):
        if tokens[row, token]:
            probability = torch.exp(logits[row, token]) / torch.exp(logits[row]).sum()
            expected = expected - token_weights[row] * torch.log(probability)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))
    large = bag_of_words_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[True, True]]), torch.ones(1))
    assert float(large) == 2e4  # no overflow


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_contrastive_loss_is_the_cross_entropy_of_the_partner(normalize: bool, temperature: float) -> None:
    pairs = torch.randn(5, 2, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    pairs[:3, 1] += pairs[:3, 0]  # so that some partners are most similar
    pairs.requires_grad_()
    source_ids = [7, 1, 2, 1, 4]
    loss, correct = in_batch_contrastive_loss(pairs, torch.tensor(source_ids), temperature, normalize=normalize)
    texts = list(itertools.product(range(5), range(2)))
    expected, expected_correct = torch.zeros((), dtype=torch.float64), 0
    for pair, side in texts:
        scores: dict[tuple[int, int], Tensor] = {}
        for other in texts:
            if other == (pair, 1 - side) or source_ids[other[0]] != source_ids[pair]:
                product = pairs[pair, side] @ pairs[other]
                if normalize:
                    product = product / (pairs[pair, side].norm() * pairs[other].norm())
                scores[other] = product / temperature
        partner = scores[pair, 1 - side]
        expected = expected - torch.log(torch.exp(partner) / torch.stack([*scores.values()]).exp().sum())
        expected_correct += bool(partner == max(scores.values()))
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
    assert int(correct) == expected_correct and 3 < expected_correct < 10
    (gradient,), (other_gradient,) = torch.autograd.grad(loss, pairs), torch.autograd.grad(expected, pairs)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-4, atol=1e-5)


def test_contrastive_loss_is_float32_for_bfloat16_and_zero_for_a_single_pair() -> None:
    pairs = torch.randn(6, 2, DIM, generator=torch.Generator().manual_seed(0))
    source_ids = torch.arange(6)
    exact, _ = in_batch_contrastive_loss(pairs, source_ids, 0.05, normalize=True)
    rounded, _ = in_batch_contrastive_loss(pairs.bfloat16(), source_ids, 0.05, normalize=True)
    assert rounded.dtype == torch.float32 and float(rounded) == pytest.approx(float(exact), rel=0.02)
    loss, correct = in_batch_contrastive_loss(pairs[:1], source_ids[:1], 0.05, normalize=True)
    assert float(loss) == 0 and int(correct) == 2
