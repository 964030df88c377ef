"""Cross-entropy in chunks and recomputed activations: cheaper, and the same numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import toys
from encloze.models.layers import cross_entropy
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.masking import IGNORED, TokenBatch
from encloze.objectives.retromae import RetroMae


def test_chunks_of_labelled_rows_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "_ROWS", 7)
    head = toys.backbone(50).double().head()
    hidden = torch.randn(4, 12, 32, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 50, (4, 12)).masked_fill(torch.rand(4, 12) < 0.4, IGNORED)
    total, right = summed_cross_entropy(*labelled(hidden, labels), head)
    (total * 0.37).backward()
    found = [hidden.grad, *(parameter.grad for parameter in head.parameters())]
    found = [gradient.clone() for gradient in found if gradient is not None]
    head.zero_grad()
    hidden.grad = None
    logits = head(hidden)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    (expected * 0.37).backward()
    torch.testing.assert_close(total, expected)
    wanted = [hidden.grad, *(parameter.grad for parameter in head.parameters())]
    for gradient, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, other)
    assert int(right) == int((logits.argmax(dim=2) == labels).sum())


def test_no_labels_cost_nothing_and_break_nothing() -> None:
    head = toys.backbone(50).head()
    hidden = torch.randn(2, 3, 32, requires_grad=True)
    total, right = summed_cross_entropy(*labelled(hidden, torch.full((2, 3), IGNORED)), head)
    total.backward()
    assert float(total.detach()) == 0 and int(right) == 0
    assert hidden.grad is not None and not hidden.grad.any()


def test_without_gradients_nothing_is_kept() -> None:
    head = toys.backbone(50).head()
    with torch.no_grad():
        total, _ = summed_cross_entropy(torch.randn(5, 32), torch.randint(0, 50, (5,)), head)
    assert not total.requires_grad


@pytest.mark.parametrize("decoding", ["enhanced", "basic"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(decoding: str) -> None:
    tokenizer = toys.tokenizer()
    ids = torch.randint(5, tokenizer.size, (4, 16))
    words = torch.arange(-1, 15).expand(4, -1).clone()
    words[:, -1] = -1
    batch = TokenBatch(ids, torch.ones(4, 16, dtype=torch.bool), words, torch.arange(4), torch.arange(4))

    def loss_and_gradients(checkpointed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        settings = RetroMae(decoding=decoding)  # type: ignore[arg-type]
        made = settings.module(toys.backbone(tokenizer.size, dropout=0.1), tokenizer, "cls").train()
        if checkpointed:
            made.checkpoint_gradients()
        torch.manual_seed(1)
        sums = made(made.draw(batch)).sums
        loss = sums["encoder"] + sums["decoder"]
        loss.backward()
        return [loss.detach(), *(p.grad for p in made.parameters() if p.grad is not None)]

    plain, checkpointed = loss_and_gradients(False), loss_and_gradients(True)
    assert len(plain) == len(checkpointed) > 20
    for first, second in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(first, second, atol=0, rtol=0)
