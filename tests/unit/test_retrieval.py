"""Fine-tuning's batches and loss: who is a positive, who a negative, and who neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Example
from encloze.losses.base import Scored
from encloze.losses.contrastive import Contrastive
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import Card
from encloze.models.heads.dense import Dense
from encloze.training.retrieval import RetrievalBatches, RetrievalModule

CPU = torch.device("cpu")


def encoder() -> BiEncoder:
    tokenizer = toys.tokenizer()
    return BiEncoder(toys.backbone(tokenizer.size), tokenizer, Card(Dense("mean"), "", "", 32, 64))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Eight documents; 6 and 7 repeat the texts of 0 and 1 under other ids."""
    texts = [d["text"] for d in toys.documents()[:6]]
    rows = [Document(str(number), "", str(text)) for number, text in enumerate([*texts, texts[0], texts[1]])]
    return Corpus.of(rows, tmp_path / "corpus.arrow")


def batch_of(corpus: Corpus, examples: list[Example], negatives: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    made = RetrievalBatches(encoder(), corpus, examples, negatives=negatives, seed=0)(np.arange(len(examples)), 0, CPU)
    return made.target.numpy(), made.left_out.numpy(), len(made.document_ids)


def test_each_text_is_one_column_and_the_target_points_at_it(corpus: Corpus) -> None:
    target, left_out, documents = batch_of(corpus, [Example("a", (0,)), Example("b", (6,)), Example("c", (2,))])
    assert target.tolist() == [0, 0, 1] and documents == 2  # 0 and 6 are the same text
    assert not left_out.any()


def test_other_positives_of_a_query_are_no_negatives(corpus: Corpus) -> None:
    target, left_out, documents = batch_of(corpus, [Example("a", (0, 2, 3)), Example("b", (2,)), Example("c", (3,))])
    for row, column in ((0, target[1]), (0, target[2])):
        assert left_out[row, column] == (column != target[row])
    assert not left_out[1].any() and not left_out[2].any()
    assert not left_out[np.arange(3), target].any()
    assert documents in (2, 3)


def test_hard_negatives_are_added_and_never_a_copy_of_a_positive(corpus: Corpus) -> None:
    examples = [Example("a", (0,), (6, 4, 5)), Example("b", (1,), (7,))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=2, seed=0)
    for epoch in range(10):
        positive, negatives = made._drawn(0, epoch)
        assert positive == 0 and set(negatives) == {4, 5}
        assert made._drawn(1, epoch) == (1, [])


def test_draws_depend_on_the_epoch_and_not_on_the_batch(corpus: Corpus) -> None:
    examples = [Example("a", (0,), (2, 3, 4, 5)), Example("b", (1,), (2, 3, 4, 5))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=1, seed=0)
    assert len({tuple(made._drawn(0, epoch)[1]) for epoch in range(20)}) == 4
    assert made._drawn(1, 3) == RetrievalBatches(encoder(), corpus, examples, negatives=1, seed=0)._drawn(1, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.booleans(), st.integers(0, 100))
def test_info_nce_is_the_cross_entropy_written_out(queries: int, documents: int, normalised: bool, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, documents, generator=draw, dtype=torch.float64)
    target = torch.randint(0, documents, (queries,), generator=draw)
    left_out = torch.rand(queries, documents, generator=draw) < 0.3
    left_out[torch.arange(queries), target] = False
    temperature = 0.05 if normalised else 1.0
    expected = 0.0
    for row in range(queries):
        powers = [
            torch.exp((scores[row, column] - scores[row, target[row]]) / temperature)
            for column in range(documents)
            if not left_out[row, column]
        ]
        expected += float(torch.log(torch.stack(powers).sum()))
    found = Contrastive().sum(Scored(scores, target, left_out), normalised=normalised)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert Contrastive(temperature).sum(Scored(scores, target, left_out), normalised=not normalised) == found


def test_the_head_for_masked_tokens_stays_as_it_is(corpus: Corpus) -> None:
    made = encoder()
    module = RetrievalModule(made, Contrastive())
    terms = module(
        RetrievalBatches(made, corpus, [Example("a", (0,)), Example("b", (2,))], negatives=0, seed=0)(
            np.arange(2), 0, CPU
        )
    )
    terms.sums["loss"].backward()
    without = [
        name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []  # several processes would wait for these for ever
    assert not made.backbone.model.cls.predictions.transform.dense.weight.requires_grad
    assert made.backbone.model.bert.embeddings.word_embeddings.weight.requires_grad


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Contrastive(temperature=0.0)


def test_scores_are_not_rounded_where_products_are(corpus: Corpus) -> None:
    made, seen = encoder(), list[Scored]()

    class Recording(Contrastive, name="recording"):  # type: ignore[call-arg]
        """Keeps what it was given."""

        def sum(self, scored: Scored, *, normalised: bool) -> torch.Tensor:
            seen.append(scored)
            return super().sum(scored, normalised=normalised)

    batch = RetrievalBatches(made, corpus, [Example("a", (0,)), Example("b", (1,))], negatives=0, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        RetrievalModule(made, Recording())(batch(np.arange(2), 0, CPU))
    scores = seen[0].scores.detach()
    assert scores.dtype == torch.float32 and (scores.bfloat16().float() != scores).any()
