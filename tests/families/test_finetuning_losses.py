"""Every loss is a sum over the queries, has gradients, and is what its formula says, written out number by number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.records import Representation
from encloze.losses.base import Loss, Scored
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.losses.l1 import L1
from encloze.losses.margin_mse import MarginMse
from encloze.losses.matryoshka import Matryoshka
from encloze.similarity import Similarity

EVERY = pytest.mark.parametrize("name", Loss.members())
VOCABULARY, WIDTH = 11, 8


def scored(queries: int, documents: int, seed: int = 0, *, normalised: bool = False, sparse: bool = True) -> Scored:
    """A step of random texts: each query has up to three candidates, some of which no teacher scored."""
    draw = torch.Generator().manual_seed(seed)

    def texts(count: int) -> Representation:
        dense = torch.randn(count, WIDTH, generator=draw, dtype=torch.float64)
        weights = torch.randn(count, VOCABULARY, generator=draw, dtype=torch.float64).relu()
        dense = torch.nn.functional.normalize(dense, dim=1) if normalised else dense
        return Representation(dense.requires_grad_(), weights.requires_grad_() if sparse else None)

    asking, found = texts(queries), texts(documents)
    similarity = Similarity(dense=1.5, sparse=0.5)
    candidates = torch.stack([torch.randperm(documents, generator=draw)[:3] for _ in range(queries)])
    if documents > 2:
        candidates[0, 2] = -1
    teacher = torch.randn(candidates.shape, generator=draw, dtype=torch.float64)
    teacher[candidates < 0] = float("nan")
    left_out = torch.rand(queries, documents, generator=draw) < 0.3
    left_out.scatter_(1, candidates[:, :1], False)
    scores = similarity.score(asking, found)
    uncut = {"queries": asking, "documents": found}
    return Scored(asking, found, uncut, similarity, scores, candidates[:, 0], left_out, candidates, teacher, normalised)


def made(name: str) -> Loss:
    values: dict[str, Any] = {"matryoshka": {"widths": (2, 4)}}.get(name, {})
    return Loss.member(name)(**values)


@EVERY
def test_a_loss_is_one_number_from_which_the_texts_learn(name: str) -> None:
    given_, loss = scored(4, 6), made(name)
    total = loss.sum(given_)
    assert total.shape == () and torch.isfinite(total) and total > 0
    slopes = torch.autograd.grad(
        total, [v for texts in (given_.queries, given_.documents) for v in texts], allow_unused=True
    )
    assert any(slope is not None and slope.abs().sum() > 0 for slope in slopes)


@EVERY
def test_a_weight_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="weight must be above 0"):
        Loss.member(name)(weight=0.0)


shapes = given(st.integers(1, 5), st.integers(3, 6), st.booleans(), st.integers(0, 100))


@settings(max_examples=30, deadline=None)
@shapes
def test_info_nce_is_the_cross_entropy_written_out(queries: int, documents: int, normalised: bool, seed: int) -> None:
    step = scored(queries, documents, seed, normalised=normalised, sparse=False)
    temperature = 0.05 * step.similarity.dense if normalised else 1.0  # scores are so many times a cosine
    expected = 0.0
    for row in range(queries):
        logits = [
            float(step.scores.detach()[row, c]) / temperature for c in range(documents) if not step.left_out[row, c]
        ]
        expected += math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        expected -= float(step.scores.detach()[row, step.target[row]]) / temperature
    assert float(Contrastive().sum(step).detach()) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert Contrastive(temperature).sum(step) == Contrastive().sum(step)


@pytest.mark.parametrize("view", ["dense", "sparse"])
def test_a_view_may_be_scored_alone(view: Any) -> None:
    step = scored(3, 4, normalised=True)
    alone = getattr(step.queries, view) @ getattr(step.documents, view).T
    temperature = 0.05 if view == "dense" else 1.0
    expected = Contrastive(temperature).sum(step._replace(scores=alone))
    torch.testing.assert_close(Contrastive(view=view).sum(step), expected)
    assert Contrastive(view=view).term == f"contrastive_{view}"


def test_a_sum_with_term_weights_is_no_cosine() -> None:
    step = scored(3, 4, normalised=True)
    assert not step.is_cosine and Contrastive().sum(step) == Contrastive(1.0).sum(step)


@settings(max_examples=30, deadline=None)
@shapes
def test_margin_mse_and_kl_are_written_out(queries: int, documents: int, normalised: bool, seed: int) -> None:
    step = scored(queries, documents, seed, normalised=normalised)
    expected = {"positive": 0.0, "all": 0.0, "kl": 0.0}
    for row in range(queries):
        known = [c for c in range(3) if step.candidates[row, c] >= 0]
        mine = [float(step.scores.detach()[row, step.candidates[row, c]]) for c in known]
        theirs = [float(step.teacher[row, c]) for c in known]
        places = range(len(known))
        squares = {(i, j): (mine[i] - mine[j] - theirs[i] + theirs[j]) ** 2 for i in places for j in places if i < j}
        expected["all"] += sum(squares.values()) / len(squares)
        of_first = [value for (i, _), value in squares.items() if i == 0]
        expected["positive"] += sum(of_first) / len(of_first)
        wanted = [math.exp(t / 2) / sum(math.exp(x / 2) for x in theirs) for t in theirs]
        found = [math.exp(s / 3) / sum(math.exp(x / 3) for x in mine) for s in mine]
        expected["kl"] += sum(w * math.log(w / f) for w, f in zip(wanted, found, strict=True))
    assert float(MarginMse().sum(step).detach()) == pytest.approx(expected["positive"])
    assert float(MarginMse(pairs="all").sum(step).detach()) == pytest.approx(expected["all"])
    assert float(KlDivergence(2.0, 3.0).sum(step).detach()) == pytest.approx(expected["kl"], abs=1e-9)


def test_a_query_that_no_teacher_scored_adds_nothing() -> None:
    step = scored(3, 5)
    without = step._replace(teacher=step.teacher.index_fill(0, torch.tensor([1]), float("nan")))
    rest = step._replace(scores=step.scores[[0, 2]], candidates=step.candidates[[0, 2]], teacher=step.teacher[[0, 2]])
    for loss in (MarginMse(), MarginMse(pairs="all"), KlDivergence()):
        torch.testing.assert_close(loss.sum(without), loss.sum(rest))


def test_prices_are_written_out() -> None:
    step = scored(3, 5)
    for side, texts in (("queries", step.queries), ("documents", step.documents)):
        rows = texts.sparse.tolist()
        flops = sum((sum(row[term] for row in rows) / len(rows)) ** 2 for term in range(VOCABULARY))
        length = sum(map(sum, rows)) / len(rows)
        assert float(Flops(side=side).sum(step).detach()) == pytest.approx(3 * flops)  # type: ignore[arg-type]
        assert float(L1(side=side).sum(step).detach()) == pytest.approx(3 * length)  # type: ignore[arg-type]
    assert [Flops(side="queries").term, L1().term] == ["flops_queries", "l1_documents"]


def test_beginnings_of_embeddings_are_scored_alone() -> None:
    step = scored(3, 5, normalised=True, sparse=False)
    losses = []
    for width in (2, 4):
        cut = [torch.nn.functional.normalize(t.dense[:, :width], dim=1) for t in (step.queries, step.documents)]
        losses.append(Contrastive().sum(step._replace(scores=1.5 * cut[0] @ cut[1].T)))
    found = Matryoshka(widths=(2, 4)).sum(step)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    assert Matryoshka().term == "matryoshka_contrastive"
    with pytest.raises(ValueError, match="widths must name one width or more"):
        Matryoshka(widths=())


@pytest.mark.parametrize(
    ("loss", "settings_", "says"),
    [
        (Contrastive, {"temperature": 0.0}, "temperature must be above 0"),
        (KlDivergence, {"teacher_temperature": 0.0}, "teacher_temperature must be above 0"),
        (Flops, {"ramp_share": 1.5}, "ramp_share must lie between 0 and 1"),
        (L1, {"active_terms": 0}, "active_terms must be 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(loss: type[Loss], settings_: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loss(**settings_)
