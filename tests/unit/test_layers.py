"""Chunked cross-entropy and gradient checkpointing: the same numbers as the direct computation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import toys
from encloze.models.layers.cross_entropy import chunked_cross_entropy, select_labeled
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch
from encloze.objectives.retromae import RetroMae


def test_chunked_cross_entropy_equals_torch() -> None:
    head = toys.backbone(50).double().mlm_head()
    hidden = torch.randn(4, 12, 32, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 50, (4, 12)).masked_fill(torch.rand(4, 12) < 0.4, IGNORE_INDEX)
    loss, correct = chunked_cross_entropy(*select_labeled(hidden, labels), head, chunk_rows=7)
    (loss * 0.37).backward()
    gradients = [hidden.grad, *(parameter.grad for parameter in head.parameters())]
    gradients = [gradient.clone() for gradient in gradients if gradient is not None]
    head.zero_grad()
    hidden.grad = None
    logits = head(hidden)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    (expected * 0.37).backward()
    torch.testing.assert_close(loss, expected)
    expected_gradients = [hidden.grad, *(parameter.grad for parameter in head.parameters())]
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)
    assert int(correct) == int((logits.argmax(dim=2) == labels).sum())


def test_without_labels_the_loss_and_its_gradients_are_zero() -> None:
    head = toys.backbone(50).mlm_head()
    hidden = torch.randn(2, 3, 32, requires_grad=True)
    loss, correct = chunked_cross_entropy(*select_labeled(hidden, torch.full((2, 3), IGNORE_INDEX)), head)
    loss.backward()
    assert float(loss.detach()) == 0 and int(correct) == 0
    assert hidden.grad is not None and not hidden.grad.any()


def test_under_no_grad_the_loss_requires_no_gradient() -> None:
    head = toys.backbone(50).mlm_head()
    with torch.no_grad():
        loss, _ = chunked_cross_entropy(torch.randn(5, 32), torch.randint(0, 50, (5,)), head)
    assert not loss.requires_grad


@pytest.mark.parametrize("decoding", ["enhanced", "basic"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(decoding: str) -> None:
    tokenizer = toys.tokenizer()
    ids = torch.randint(5, tokenizer.vocab_size, (4, 16))
    word_ids = torch.arange(-1, 15).expand(4, -1).clone()
    word_ids[:, -1] = -1
    batch = TokenBatch(ids, torch.ones(4, 16, dtype=torch.bool), word_ids, torch.arange(4), torch.arange(4))

    def loss_and_gradients(with_checkpointing: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        settings = RetroMae(decoding=decoding)  # type: ignore[arg-type]
        module = settings.build_module(toys.backbone(tokenizer.vocab_size, dropout=0.1), tokenizer, "cls").train()
        if with_checkpointing:
            module.enable_gradient_checkpointing()
        torch.manual_seed(1)
        sums = module(module.sample(batch)).sums
        loss = sums["encoder"] + sums["decoder"]
        loss.backward()
        return [loss.detach(), *(p.grad for p in module.parameters() if p.grad is not None)]

    plain, checkpointed = loss_and_gradients(False), loss_and_gradients(True)
    assert len(plain) == len(checkpointed) > 20
    for first, second in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(first, second, atol=0, rtol=0)
