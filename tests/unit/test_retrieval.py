"""Fine-tuning's batches and comparison: who is a positive, who a negative, and who neither; parts equal the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Example
from encloze.losses.base import Aim, Loss, Scored
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.losses.margin_mse import MarginMse
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import Card
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.training.aiming import Aiming
from encloze.training.loop import Training, _Loop
from encloze.training.plan import BatchPlan
from encloze.training.retrieval import RetrievalBatches, RetrievalModule
from encloze.training.settling import settle

CPU = torch.device("cpu")
BOTH = (Dense("mean", True, 8), Sparse())


def encoder(*heads: Head, kind: torch.dtype = torch.float32) -> BiEncoder:
    tokenizer = toys.tokenizer()
    torch.manual_seed(3)
    card = Card(heads or (Dense("mean", False),), "", "", 32, 64)
    return BiEncoder(toys.backbone(tokenizer.size), tokenizer, card).to(kind)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Eight documents; 6 and 7 repeat the texts of 0 and 1 under other ids."""
    texts = [d["text"] for d in toys.documents()[:6]]
    rows = [Document(str(number), "", str(text)) for number, text in enumerate([*texts, texts[0], texts[1]])]
    return Corpus.of(rows, tmp_path / "corpus.arrow")


class Recording(Contrastive, name="recording"):
    """Keeps what it was given."""

    def sum(self, scored: Scored) -> torch.Tensor:
        seen.append(scored)
        return super().sum(scored)


seen: list[Scored] = []


def scored(
    corpus: Corpus, examples: list[Example], negatives: int = 0, *, epoch: int = 0, bfloat16: bool = False
) -> Scored:
    """What a loss sees of one batch of all examples."""
    made = encoder()
    batches = RetrievalBatches(made, corpus, examples, negatives=negatives, seed=0)
    module = RetrievalModule(made, [Recording()], batches.relevance)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        terms = module(module.draw(batches(np.arange(len(examples)), epoch, CPU)))
    module.compare(terms.compared)
    return seen.pop()


def test_each_text_is_one_column_and_the_target_points_at_it(corpus: Corpus) -> None:
    found = scored(corpus, [Example("a", (0,)), Example("b", (6,)), Example("c", (2,))])
    assert found.target.tolist() == [0, 0, 1] and found.scores.shape == (3, 2)  # 0 and 6 are the same text
    assert not found.left_out.any()


def test_other_positives_of_a_query_are_no_negatives(corpus: Corpus) -> None:
    found = scored(corpus, [Example("a", (0, 2, 3)), Example("b", (2,)), Example("c", (3,))])
    target, left_out = found.target, found.left_out
    for column in (target[1], target[2]):
        assert left_out[0, column] == (column != target[0])
    assert not left_out[1:].any() and not left_out[range(3), target].any()


def test_what_is_relevant_to_a_question_is_so_wherever_it_is_asked(corpus: Corpus) -> None:
    found = scored(corpus, [Example("a", (0,)), Example("a", (2,), (6, 4)), Example("b", (3,))], negatives=2)
    assert found.left_out[0, found.target[1]] and found.left_out[1, found.target[0]]
    assert found.candidates[1].tolist()[2] == -1  # 6 is the text of 0, which answers the same question
    assert not found.left_out[2].any()
    found = scored(corpus, [Example("A?", (2,), (6, 4), known=(0, 2)), Example("b", (3,)), Example("c", (0,))], 2)
    assert found.candidates[0].tolist()[2] == -1  # that the other who asked it is not learnt from changes nothing
    assert found.left_out[0, found.target[2]] and not found.left_out[1].any()


def test_hard_negatives_are_added_and_never_a_copy_of_a_positive(corpus: Corpus) -> None:
    examples = [Example("a", (0,), (6, 4, 5)), Example("b", (1,), (7,))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=2, seed=0)
    for epoch in range(10):
        (positive, *negatives), scores = made.draw.of(0, epoch)
        assert positive == 0 and set(negatives) == {4, 5} and not scores
        assert made.draw.of(1, epoch) == ([1], [])


def test_draws_depend_on_the_epoch_and_not_on_the_batch(corpus: Corpus) -> None:
    examples = [Example("a", (0,), (2, 3, 4, 5)), Example("b", (1,), (2, 3, 4, 5))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=1, seed=0)
    assert len({tuple(made.draw.of(0, epoch)[0]) for epoch in range(20)}) == 4
    assert made.draw.of(1, 3) == RetrievalBatches(encoder(), corpus, examples, negatives=1, seed=0).draw.of(1, 3)


def test_a_teachers_scores_stand_beside_the_documents_that_it_scored(corpus: Corpus) -> None:
    nan = float("nan")
    examples = [
        Example("a", (0, 1), (2, 3), (nan, 7.0), (5.0, 4.0)),  # it did not score 0, so 1 is taken
        Example("b", (4,), (5,), (9.0,), (1.0,)),
    ]
    for epoch in range(5):
        found = scored(corpus, examples, negatives=2, epoch=epoch)
        assert found.teacher[:, 0].tolist() == [7.0, 9.0]
        assert sorted(found.teacher[0, 1:].tolist()) == [4.0, 5.0] and found.teacher[1, 1] == 1
        assert bool(found.teacher[1, 2].isnan()) and found.candidates[1, 2] == -1
        own = found.of_candidates()
        assert own.taught.tolist() == own.there.tolist() == [[True, True, True], [True, True, False]]
        assert own.scores[0, 0] == found.scores[0, found.target[0]]
        assert found.left_out[0].sum() == 0  # 0 is relevant, but not in the batch


def test_scores_are_not_rounded_where_products_are(corpus: Corpus) -> None:
    found = scored(corpus, [Example("a", (0,)), Example("b", (1,))], bfloat16=True)
    assert found.scores.dtype == torch.float32 and (found.scores.bfloat16().float() != found.scores).any()


def learnt(
    corpus: Corpus, losses: list[Loss], heads: tuple[Head, ...], accumulation: int, tmp_path: Path
) -> dict[str, torch.Tensor]:
    """The figures of one step in float64, and the gradient of every parameter."""
    made = encoder(*heads, kind=torch.float64)
    examples = [
        Example(f"{word} river", (number,), ((number + 2) % 6, (number + 3) % 6), (4.0,), (number / 2, 1.5))
        for number, word in enumerate(("old", "engine", "a broken", "deep", "the", "records"))
    ]
    batches = RetrievalBatches(made, corpus, examples, negatives=2, seed=0)
    module = RetrievalModule(made, losses, batches.relevance)
    settings = Training(precision="float32", clip=1e9, accumulation=accumulation)

    def double(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        batch = batches(numbers, epoch, device)
        return batch._replace(teacher=batch.teacher.double())

    loop = _Loop(module, double, settings, 0, tmp_path)
    gradients: dict[str, torch.Tensor] = {}

    def keep() -> None:
        gradients.update({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})

    loop.optimizer.step = keep  # type: ignore[method-assign, assignment]
    place = next(BatchPlan(batches.lengths, 0, batch_size=6).from_step(0))
    loop.step(place._replace(step=5), 10)  # where no ramp is at 0 any more
    figures = {name: torch.tensor(value) for name, value in loop.figures(1).items() if isinstance(value, float)}
    figures.pop("seconds")
    return gradients | figures


@pytest.mark.parametrize(
    ("losses", "heads"),
    [
        ([Contrastive()], (Dense("cls", True),)),
        ([Contrastive(), Flops(weight=0.1), Flops(side="queries", weight=0.2)], BOTH),
        ([KlDivergence(), MarginMse(pairs="all"), Contrastive(weight=0.2)], BOTH),
        ([Contrastive()], (Sparse(pooling="sum", queries="bag"),)),
    ],
    ids=["dense", "both, with a price", "both, taught", "bags of words"],
)
def test_gradient_caching_equals_the_whole_batch(
    losses: list[Loss], heads: tuple[Head, ...], corpus: Corpus, tmp_path: Path
) -> None:
    whole = learnt(corpus, losses, heads, 1, tmp_path)
    assert len(whole) > 20 and {loss.term for loss in losses} < whole.keys()
    for accumulation in (2, 4, 6):
        parts = learnt(corpus, losses, heads, accumulation, tmp_path)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, atol=1e-10, rtol=1e-8, msg=name)


def test_the_head_for_masked_tokens_stays_as_it_is_where_no_word_is_weighed(corpus: Corpus, tmp_path: Path) -> None:
    dense, both = (learnt(corpus, [Contrastive()], heads, 1, tmp_path) for heads in ((Dense("cls"),), BOTH))
    transform = "encoder.backbone.model.cls.predictions.transform.dense.weight"
    assert transform not in dense and both[transform].abs().sum() > 0
    assert dense["encoder.backbone.model.bert.embeddings.word_embeddings.weight"].abs().sum() > 0
    assert both["encoder.parts.dense.weight"].shape == (8, 32)


def test_the_weight_of_a_price_follows_the_number_of_active_terms(corpus: Corpus) -> None:
    made = encoder(*BOTH)
    examples = [Example("a river", (0,)), Example("engine", (2,))]
    batches = RetrievalBatches(made, corpus, examples, negatives=0, seed=0)
    for wanted in (None, 1, 10_000):
        loss = Flops(weight=0.5, ramp_share=0.5, active_terms=wanted)
        module = RetrievalModule(made, [Contrastive(), loss], batches.relevance)
        compared = module(module.draw(batches(np.arange(2), 0, CPU))).compared
        before = [module.weights_at(done)["flops_documents"] for done in (0.0, 0.25, 0.5, 1.0)]
        now = float(module.compare(compared)["active_documents"]) / 2
        after = module.weights_at(1.0)["flops_documents"]
        assert 1 < now < 10_000
        if wanted is None:
            assert before == [0, 0.125, 0.5, 0.5] and after == 0.5
        else:
            assert before == [0.5] * 4 and (after > 0.5) == (wanted == 1) and (after < 0.5) == (wanted == 10_000)
        assert module.state_dict()["aiming.kept"].tolist()[0] == 0


@pytest.mark.parametrize("steps", [300, 600, 2000])
@pytest.mark.parametrize("answer", [0.7, 0.3])
@pytest.mark.parametrize("speed", [0.1, 0.03])
def test_a_number_is_led_to_where_it_is_wanted(speed: float, answer: float, steps: int) -> None:
    """Something that falls with the weight as the number of active terms does: noisily, and ever more slowly, as the
    learning rate falls."""
    aiming, draw, number, lowest = Aiming(1), np.random.default_rng(0), 5000.0, 5000.0
    for step in range(steps):
        weight = aiming.factors()[0] * 1e-3
        settled = 5000 / (1 + 1000 * weight) ** answer
        share = speed * (1 - step / steps)
        number = number ** (1 - share) * settled**share
        aiming.move(0, Aim(number * float(np.exp(draw.normal(0, 0.05))), 100.0, 0.33), step / steps)
        lowest = min(lowest, number)
    assert lowest > 60 and number == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("wanted", [{"documents": 12}, {"queries": 30}, {"documents": 12, "queries": 8}, {}])
def test_after_training_texts_have_as_many_words_as_was_asked_for(
    wanted: dict[Literal["documents", "queries"], int], pooling: Literal["max", "sum"], corpus: Corpus
) -> None:
    made = encoder(Dense("mean", True, 8), Sparse(pooling))
    examples = [Example("a river", (0,)), Example("engine", (2,)), Example("bread and butter", (4,))]
    batches = RetrievalBatches(made, corpus, examples, negatives=0, seed=0)
    losses = [Contrastive(), *(Flops(side=side, active_terms=terms) for side, terms in wanted.items())]
    settle(RetrievalModule(made, losses, batches.relevance), batches)
    batch, head = batches(np.arange(3), 0, CPU), made.card.heads[1]
    assert isinstance(head, Sparse) and made.card.heads[0] == Dense("mean", True, 8)
    assert [bool(head.query_shift), bool(head.document_shift)] == ["queries" in wanted, "documents" in wanted]
    with torch.no_grad():
        found = {"documents": made(batch.documents, "document"), "queries": made(batch.queries, "query")}
    for side, terms in wanted.items():
        assert float((found[side].sparse > 0).sum(dim=1).float().mean()) == pytest.approx(terms, abs=0.5)


@pytest.mark.parametrize(("head", "terms"), [(Sparse(), 100_000), (Sparse(queries="bag"), 50)])
def test_where_no_shift_leads_to_the_number_there_is_none(head: Sparse, terms: int, corpus: Corpus) -> None:
    made = encoder(head)
    batches = RetrievalBatches(made, corpus, [Example("a river", (0,)), Example("engine", (2,))], negatives=0, seed=0)
    settle(
        RetrievalModule(made, [Contrastive(), Flops(side="queries", active_terms=terms)], batches.relevance), batches
    )
    assert made.card.heads == (head,)


@pytest.mark.parametrize("in_training", [True, False])
def test_terms_that_do_not_count_are_in_no_score_of_training_but_have_their_price(
    in_training: bool, corpus: Corpus
) -> None:
    made = encoder(Dense("cls"), Sparse(document_top_k=2, query_top_k=1, top_k_in_training=in_training))
    batches = RetrievalBatches(made, corpus, [Example("a river", (0,)), Example("engine", (2,))], negatives=0, seed=0)
    module = RetrievalModule(made, [Recording()], batches.relevance)
    module.compare(module(module.draw(batches(np.arange(2), 0, CPU))).compared)
    found = seen.pop()
    active = (found.documents.sparse > 0).sum(dim=1)
    assert (active <= 2).all() == in_training
    assert ((found.of_view("sparse").documents.sparse > 0).sum(dim=1) == active).all()
    assert (Flops().weights(found) > 0).sum(dim=1).min() > 2


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Contrastive(temperature=0.0)
