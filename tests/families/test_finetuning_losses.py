"""Fine-tuning losses: each is a differentiable sum over queries and equals its formula, computed element by element."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.records import Representation
from encloze.losses.base import CandidateLoss, Loss, ScoredBatch
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.losses.l1 import L1
from encloze.losses.listwise import Listwise
from encloze.losses.margin_mse import MarginMse
from encloze.losses.matryoshka import Matryoshka
from encloze.losses.pairwise import Pairwise
from encloze.losses.pointwise import Pointwise
from encloze.similarity import Similarity

VOCABULARY, DIM = 11, 8


def random_batch(
    num_queries: int, num_documents: int, seed: int = 0, *, normalized: bool = False, sparse: bool = True
) -> ScoredBatch:
    """A scored batch of random texts with up to three candidates per query; the padding has no teacher score."""
    generator = torch.Generator().manual_seed(seed)

    def texts(count: int) -> Representation:
        dense = torch.randn(count, DIM, generator=generator, dtype=torch.float64)
        weights = torch.randn(count, VOCABULARY, generator=generator, dtype=torch.float64).relu()
        dense = torch.nn.functional.normalize(dense, dim=1) if normalized else dense
        return Representation(dense.requires_grad_(), weights.requires_grad_() if sparse else None)

    queries, documents = texts(num_queries), texts(num_documents)
    similarity = Similarity(dense=1.5, sparse=0.5)
    candidates = torch.stack([torch.randperm(num_documents, generator=generator)[:3] for _ in range(num_queries)])
    if num_documents > 2:
        candidates[0, 2] = -1
    teacher_scores = torch.randn(candidates.shape, generator=generator, dtype=torch.float64)
    teacher_scores[candidates < 0] = float("nan")
    false_negative_mask = torch.rand(num_queries, num_documents, generator=generator) < 0.3
    false_negative_mask.scatter_(1, candidates[:, :1], False)
    return ScoredBatch(
        queries=queries,
        documents=documents,
        unpruned={"queries": queries, "documents": documents},
        similarity=similarity,
        scores=similarity.score(queries, documents),
        target=candidates[:, 0],
        false_negative_mask=false_negative_mask,
        candidates=candidates,
        teacher_scores=teacher_scores,
        is_normalized=normalized,
    )


def test_every_loss_is_a_positive_scalar_with_gradients() -> None:
    for name in Loss.members():
        batch, loss = random_batch(4, 6), Loss.member(name)(**({"dims": (2, 4)} if name == "matryoshka" else {}))
        total = loss.compute(batch)
        assert total.shape == () and torch.isfinite(total) and total > 0, name
        inputs = [view for texts in (batch.queries, batch.documents) for view in texts]
        gradients = torch.autograd.grad(total, inputs, allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), name


def test_every_loss_rejects_a_weight_of_zero() -> None:
    for name in Loss.members():
        with pytest.raises(ValueError, match="weight must be above 0"):
            Loss.member(name)(weight=0.0)


shapes = given(st.integers(1, 5), st.integers(3, 6), st.booleans(), st.integers(0, 100))


@settings(max_examples=30, deadline=None)
@shapes
def test_contrastive_equals_its_formula(num_queries: int, num_documents: int, normalized: bool, seed: int) -> None:
    batch = random_batch(num_queries, num_documents, seed, normalized=normalized, sparse=False)
    temperature = 0.05 * batch.similarity.dense if normalized else 1.0
    scores, expected = batch.scores.detach(), 0.0
    for row in range(num_queries):
        columns = [column for column in range(num_documents) if not batch.false_negative_mask[row, column]]
        logits = [float(scores[row, column]) / temperature for column in columns]
        expected += math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        expected -= float(scores[row, batch.target[row]]) / temperature
    assert float(Contrastive().compute(batch).detach()) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert Contrastive(temperature).compute(batch) == Contrastive().compute(batch)


@pytest.mark.parametrize("view", ["dense", "sparse"])
def test_contrastive_of_one_view_uses_its_inner_products(view: Any) -> None:
    batch = random_batch(3, 4, normalized=True)
    scores = getattr(batch.queries, view) @ getattr(batch.documents, view).T
    expected = Contrastive(0.05 if view == "dense" else 1.0).compute(batch._replace(scores=scores))
    torch.testing.assert_close(Contrastive(view=view).compute(batch), expected)
    assert Contrastive(view=view).term == f"contrastive_{view}"


def test_scores_with_a_sparse_view_are_not_cosines() -> None:
    batch = random_batch(3, 4, normalized=True)
    assert not batch.is_cosine and Contrastive().compute(batch) == Contrastive(1.0).compute(batch)


@settings(max_examples=30, deadline=None)
@shapes
def test_distillation_losses_equal_their_formulas(
    num_queries: int, num_documents: int, normalized: bool, seed: int
) -> None:
    batch = random_batch(num_queries, num_documents, seed, normalized=normalized)
    expected = {"positive": 0.0, "all": 0.0, "kl": 0.0}
    for row in range(num_queries):
        known = [c for c in range(3) if batch.candidates[row, c] >= 0]
        student = [float(batch.scores.detach()[row, batch.candidates[row, c]]) for c in known]
        teacher = [float(batch.teacher_scores[row, c]) for c in known]
        squares = {
            (i, j): (student[i] - student[j] - teacher[i] + teacher[j]) ** 2
            for i in range(len(known))
            for j in range(i + 1, len(known))
        }
        expected["all"] += sum(squares.values()) / len(squares)
        of_positive = [value for (i, _), value in squares.items() if i == 0]
        expected["positive"] += sum(of_positive) / len(of_positive)
        p = [math.exp(t / 2) / sum(math.exp(x / 2) for x in teacher) for t in teacher]
        q = [math.exp(s / 3) / sum(math.exp(x / 3) for x in student) for s in student]
        expected["kl"] += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(MarginMse().compute(batch).detach()) == pytest.approx(expected["positive"])
    assert float(MarginMse(pairs="all").compute(batch).detach()) == pytest.approx(expected["all"])
    assert float(KlDivergence(2.0, 3.0).compute(batch).detach()) == pytest.approx(expected["kl"], abs=1e-9)


@settings(max_examples=30, deadline=None)
@shapes
def test_ranking_losses_equal_their_formulas(num_queries: int, num_documents: int, normalized: bool, seed: int) -> None:
    batch = random_batch(num_queries, num_documents, seed, normalized=normalized)
    expected = {"listwise": 0.0, "pairwise": 0.0, "pointwise": 0.0}
    for row in range(num_queries):
        columns = [column for column in batch.candidates[row].tolist() if column >= 0]
        positive, *negatives = (float(batch.scores.detach()[row, column]) for column in columns)
        expected["listwise"] += math.log(math.exp(positive) + sum(map(math.exp, negatives))) - positive
        expected["pairwise"] += sum(math.log(1 + math.exp(x - positive)) for x in negatives) / len(negatives)
        against = sum(math.log(1 + math.exp(x)) for x in negatives) / len(negatives)
        expected["pointwise"] += (math.log(1 + math.exp(-positive)) + against) / 2
    for loss in (Listwise(), Pairwise(), Pointwise()):
        assert float(loss.compute(batch).detach()) == pytest.approx(expected[loss.name]), loss.name


def test_a_query_without_teacher_scores_adds_nothing() -> None:
    batch = random_batch(3, 5)
    unknown = batch._replace(teacher_scores=batch.teacher_scores.index_fill(0, torch.tensor([1]), float("nan")))
    others = batch._replace(
        **{name: getattr(batch, name)[[0, 2]] for name in ("scores", "candidates", "teacher_scores")}
    )
    losses: tuple[CandidateLoss, ...] = (MarginMse(), MarginMse(pairs="all"), KlDivergence())
    for loss in losses:
        torch.testing.assert_close(loss.compute(unknown), loss.compute(others))


def test_sparsity_regularizers_equal_their_formulas() -> None:
    batch = random_batch(3, 5)
    for side, texts in (("queries", batch.queries), ("documents", batch.documents)):
        rows = texts.sparse.tolist()
        flops = sum((sum(row[term] for row in rows) / len(rows)) ** 2 for term in range(VOCABULARY))
        mean_l1 = sum(map(sum, rows)) / len(rows)
        assert float(Flops(side=side).compute(batch).detach()) == pytest.approx(3 * flops)  # type: ignore[arg-type]
        assert float(L1(side=side).compute(batch).detach()) == pytest.approx(3 * mean_l1)  # type: ignore[arg-type]
    assert [Flops(side="queries").term, L1().term] == ["flops_queries", "l1_documents"]


def test_matryoshka_is_the_mean_over_truncated_embeddings() -> None:
    batch = random_batch(3, 5, normalized=True, sparse=False)
    losses = []
    for dim in (2, 4):
        queries, documents = (
            torch.nn.functional.normalize(texts.dense[:, :dim], dim=1) for texts in (batch.queries, batch.documents)
        )
        losses.append(Contrastive().compute(batch._replace(scores=1.5 * queries @ documents.T)))
    torch.testing.assert_close(Matryoshka(dims=(2, 4)).compute(batch), torch.stack(losses).mean())
    assert Matryoshka().term == "matryoshka_contrastive"


@pytest.mark.parametrize(
    ("loss", "values", "message"),
    [
        (Contrastive, {"temperature": 0.0}, "temperature must be above 0"),
        (KlDivergence, {"teacher_temperature": 0.0}, "teacher_temperature must be above 0"),
        (Flops, {"ramp_ratio": 1.5}, "ramp_ratio must be between 0 and 1"),
        (L1, {"target_active_dims": 0}, "target_active_dims must be 1 or more"),
        (Matryoshka, {"dims": ()}, "dims must be one or more positive integers"),
    ],
)
def test_settings_out_of_range_are_rejected(loss: type[Loss], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(**values)
