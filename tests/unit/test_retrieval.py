"""Tests of bi-encoder fine-tuning: false negatives, candidates, gradient caching, sparsity control."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document, TrainingExample
from encloze.losses.base import Loss, ScoredBatch, SparsityTarget
from encloze.losses.contrastive import Contrastive
from encloze.losses.flops import Flops
from encloze.losses.kl_divergence import KlDivergence
from encloze.losses.margin_mse import MarginMse
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.training.arguments import TrainingArguments
from encloze.training.logit_bias import calibrate_logit_bias
from encloze.training.optimizer_step import OptimizerSteps
from encloze.training.random_batches import RandomPlan
from encloze.training.retrieval import RetrievalModule
from encloze.training.retrieval_batches import RetrievalBatches
from encloze.training.sparsity import SparsityController

CPU = torch.device("cpu")
BOTH = (Dense("mean", True, 8), Sparse())


def encoder(*heads: Head, kind: torch.dtype = torch.float32) -> BiEncoder:
    tokenizer = toys.tokenizer()
    torch.manual_seed(3)
    card = EncoderConfig(heads or (Dense("mean", False),), "", "", 32, 64)
    return BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, card).to(kind)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Eight documents; 6 and 7 have the texts of 0 and 1."""
    texts = [d["text"] for d in toys.documents()[:6]]
    rows = [Document(str(number), "", str(text)) for number, text in enumerate([*texts, texts[0], texts[1]])]
    return Corpus.from_documents(rows, tmp_path / "corpus.arrow")


class Recording(Contrastive, name="recording"):
    """Records the scored batches that it receives."""

    def compute(self, scored: ScoredBatch) -> torch.Tensor:
        seen.append(scored)
        return super().compute(scored)


seen: list[ScoredBatch] = []


def scored(
    corpus: Corpus, examples: list[TrainingExample], negatives: int = 0, *, epoch: int = 0, bfloat16: bool = False
) -> ScoredBatch:
    """Return the scored batch of all examples that a loss receives."""
    made = encoder()
    batches = RetrievalBatches(made, corpus, examples, negatives=negatives, seed=0)
    module = RetrievalModule(made, [Recording()], batches.relevance)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        terms = module(module.sample(batches(np.arange(len(examples)), epoch, CPU)))
    module.global_losses(terms.embeddings)
    return seen.pop()


def test_documents_with_the_same_text_share_a_column(corpus: Corpus) -> None:
    found = scored(corpus, [TrainingExample("a", (0,)), TrainingExample("b", (6,)), TrainingExample("c", (2,))])
    assert found.target.tolist() == [0, 0, 1] and found.scores.shape == (3, 2)  # 0 and 6 are the same text
    assert not found.false_negative_mask.any()


def test_other_relevant_documents_are_masked_as_false_negatives(corpus: Corpus) -> None:
    found = scored(corpus, [TrainingExample("a", (0, 2, 3)), TrainingExample("b", (2,)), TrainingExample("c", (3,))])
    target, false_negative_mask = found.target, found.false_negative_mask
    for column in (target[1], target[2]):
        assert false_negative_mask[0, column] == (column != target[0])
    assert not false_negative_mask[1:].any() and not false_negative_mask[range(3), target].any()


def test_queries_with_the_same_text_share_their_relevant_documents(corpus: Corpus) -> None:
    found = scored(
        corpus,
        [TrainingExample("a", (0,)), TrainingExample("a", (2,), (6, 4)), TrainingExample("b", (3,))],
        negatives=2,
    )
    assert found.false_negative_mask[0, found.target[1]] and found.false_negative_mask[1, found.target[0]]
    assert found.candidates[1].tolist()[2] == -1  # 6 has the text of 0, which is relevant to the same query
    assert not found.false_negative_mask[2].any()
    found = scored(
        corpus,
        [TrainingExample("A?", (2,), (6, 4), relevant=(0, 2)), TrainingExample("b", (3,)), TrainingExample("c", (0,))],
        2,
    )
    assert found.candidates[0].tolist()[2] == -1  # also if the other query is not a training example
    assert found.false_negative_mask[0, found.target[2]] and not found.false_negative_mask[1].any()


def test_hard_negatives_are_never_copies_of_a_relevant_document(corpus: Corpus) -> None:
    examples = [TrainingExample("a", (0,), (6, 4, 5)), TrainingExample("b", (1,), (7,))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=2, seed=0)
    for epoch in range(10):
        (positive, *negatives), scores = made.sampler.sample_one(0, epoch)
        assert positive == 0 and set(negatives) == {4, 5} and not scores
        assert made.sampler.sample_one(1, epoch) == ([1], [])


def test_candidates_depend_on_the_epoch_and_not_on_the_batch(corpus: Corpus) -> None:
    examples = [TrainingExample("a", (0,), (2, 3, 4, 5)), TrainingExample("b", (1,), (2, 3, 4, 5))]
    made = RetrievalBatches(encoder(), corpus, examples, negatives=1, seed=0)
    assert len({tuple(made.sampler.sample_one(0, epoch)[0]) for epoch in range(20)}) == 4
    assert made.sampler.sample_one(1, 3) == RetrievalBatches(
        encoder(), corpus, examples, negatives=1, seed=0
    ).sampler.sample_one(1, 3)


def test_teacher_scores_belong_to_the_candidates(corpus: Corpus) -> None:
    nan = float("nan")
    examples = [
        TrainingExample("a", (0, 1), (2, 3), (nan, 7.0), (5.0, 4.0)),  # document 0 has no score, so 1 is sampled
        TrainingExample("b", (4,), (5,), (9.0,), (1.0,)),
    ]
    for epoch in range(5):
        found = scored(corpus, examples, negatives=2, epoch=epoch)
        assert found.teacher_scores[:, 0].tolist() == [7.0, 9.0]
        assert sorted(found.teacher_scores[0, 1:].tolist()) == [4.0, 5.0] and found.teacher_scores[1, 1] == 1
        assert bool(found.teacher_scores[1, 2].isnan()) and found.candidates[1, 2] == -1
        own = found.candidate_scores()
        assert (
            own.has_teacher_score.tolist() == own.candidate_mask.tolist() == [[True, True, True], [True, True, False]]
        )
        assert own.scores[0, 0] == found.scores[0, found.target[0]]
        assert found.false_negative_mask[0].sum() == 0  # 0 is relevant, but not in the batch


def test_scores_are_float32_under_bfloat16_autocast(corpus: Corpus) -> None:
    found = scored(corpus, [TrainingExample("a", (0,)), TrainingExample("b", (1,))], bfloat16=True)
    assert found.scores.dtype == torch.float32 and (found.scores.bfloat16().float() != found.scores).any()


def one_step(
    corpus: Corpus, losses: list[Loss], heads: tuple[Head, ...], micro_batches: int, tmp_path: Path
) -> dict[str, torch.Tensor]:
    """Return the logged metrics of one step in float64, and the gradient of every parameter."""
    made = encoder(*heads, kind=torch.float64)
    examples = [
        TrainingExample(f"{word} river", (number,), ((number + 2) % 6, (number + 3) % 6), (4.0,), (number / 2, 1.5))
        for number, word in enumerate(("old", "engine", "a broken", "deep", "the", "records"))
    ]
    batches = RetrievalBatches(made, corpus, examples, negatives=2, seed=0)
    module = RetrievalModule(made, losses, batches.relevance)
    settings = TrainingArguments(precision="float32", max_grad_norm=1e9, micro_batches=micro_batches)

    def double(numbers: np.ndarray, epoch: int, device: torch.device) -> Any:
        batch = batches(numbers, epoch, device)
        return batch._replace(teacher_scores=batch.teacher_scores.double())

    steps = OptimizerSteps(module, double, settings, 0, total_steps=10, tracker_folder=tmp_path)
    gradients: dict[str, torch.Tensor] = {}

    def keep() -> None:
        gradients.update({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})

    steps.optimizer.step = keep  # type: ignore[method-assign, assignment]
    step = next(RandomPlan(batches.lengths, 0, 6, batches.relevance).from_step(0))
    steps.run(step._replace(number=5))  # at half of the run all ramps have ended
    return gradients | {name: torch.tensor(value) for name, value in steps.metrics.compute().items()}


@pytest.mark.parametrize(
    ("losses", "heads"),
    [
        ([Contrastive()], (Dense("cls", True),)),
        ([Contrastive(), Flops(weight=0.1), Flops(side="queries", weight=0.2)], BOTH),
        ([KlDivergence(), MarginMse(pairs="all"), Contrastive(weight=0.2)], BOTH),
        ([Contrastive()], (Sparse(pooling="sum", query_encoding="bag_of_words"),)),
    ],
    ids=["dense", "both views, regularized", "both views, distilled", "bag of words"],
)
def test_gradient_caching_equals_the_whole_batch(
    losses: list[Loss], heads: tuple[Head, ...], corpus: Corpus, tmp_path: Path
) -> None:
    whole = one_step(corpus, losses, heads, 1, tmp_path)
    assert len(whole) > 20 and {loss.term for loss in losses} < whole.keys()
    for micro_batches in (2, 4, 6):
        parts = one_step(corpus, losses, heads, micro_batches, tmp_path)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, atol=1e-10, rtol=1e-8, msg=name)


def test_mlm_head_is_not_trained_without_a_sparse_view(corpus: Corpus, tmp_path: Path) -> None:
    dense, both = (one_step(corpus, [Contrastive()], heads, 1, tmp_path) for heads in ((Dense("cls"),), BOTH))
    transform = "encoder.backbone.model.cls.predictions.transform.dense.weight"
    assert transform not in dense and both[transform].abs().sum() > 0
    assert dense["encoder.backbone.model.bert.embeddings.word_embeddings.weight"].abs().sum() > 0
    assert both["encoder.head_modules.dense.weight"].shape == (8, 32)


def test_regularization_weight_follows_the_number_of_active_dimensions(corpus: Corpus) -> None:
    made = encoder(*BOTH)
    examples = [TrainingExample("a river", (0,)), TrainingExample("engine", (2,))]
    batches = RetrievalBatches(made, corpus, examples, negatives=0, seed=0)
    for wanted in (None, 1, 10_000):
        loss = Flops(weight=0.5, ramp_ratio=0.5, target_active_dims=wanted)
        module = RetrievalModule(made, [Contrastive(), loss], batches.relevance)
        compared = module(module.sample(batches(np.arange(2), 0, CPU))).embeddings
        before = [module.loss_weights_at(done)["flops_documents"] for done in (0.0, 0.25, 0.5, 1.0)]
        module.start_step(1.0)
        now = float(module.global_losses(compared)["document_active_dims"]) / 2
        after = module.loss_weights_at(1.0)["flops_documents"]
        assert 1 < now < 10_000
        if wanted is None:
            assert before == [0, 0.125, 0.5, 0.5] and after == 0.5
        else:
            assert before == [0.5] * 4 and (after > 0.5) == (wanted == 1) and (after < 0.5) == (wanted == 10_000)
        assert module.state_dict()["sparsity_controller.integral"].tolist()[0] == 0


@pytest.mark.parametrize("steps", [300, 600, 2000])
@pytest.mark.parametrize("answer", [0.7, 0.3])
@pytest.mark.parametrize("speed", [0.1, 0.03])
def test_sparsity_controller_reaches_its_target(speed: float, answer: float, steps: int) -> None:
    """Simulate a number that decreases with the weight as active dimensions do: noisily, and more slowly as the
    learning rate decays."""
    target = SparsityTarget("documents", 100, 0.33)
    controller, generator, number, lowest = SparsityController(1), np.random.default_rng(0), 5000.0, 5000.0
    for step in range(steps):
        weight = controller.factors()[0] * 1e-3
        settled = 5000 / (1 + 1000 * weight) ** answer
        share = speed * (1 - step / steps)
        number = number ** (1 - share) * settled**share
        controller.update(0, number * float(np.exp(generator.normal(0, 0.05))), target, step / steps)
        lowest = min(lowest, number)
    assert lowest > 60 and number == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("wanted", [{"documents": 12}, {"queries": 30}, {"documents": 12, "queries": 8}, {}])
def test_calibrated_logit_bias_gives_the_target_number_of_active_dimensions(
    wanted: dict[Literal["documents", "queries"], int], pooling: Literal["max", "sum"], corpus: Corpus
) -> None:
    made = encoder(Dense("mean", True, 8), Sparse(pooling))
    examples = [
        TrainingExample("a river", (0,)),
        TrainingExample("engine", (2,)),
        TrainingExample("bread and butter", (4,)),
    ]
    batches = RetrievalBatches(made, corpus, examples, negatives=0, seed=0)
    losses = [Contrastive(), *(Flops(side=side, target_active_dims=terms) for side, terms in wanted.items())]
    calibrate_logit_bias(RetrievalModule(made, losses, batches.relevance), batches)
    batch, head = batches(np.arange(3), 0, CPU), made.config.heads[1]
    assert isinstance(head, Sparse) and made.config.heads[0] == Dense("mean", True, 8)
    assert [bool(head.query_logit_bias), bool(head.document_logit_bias)] == ["queries" in wanted, "documents" in wanted]
    with torch.no_grad():
        found = {"documents": made(batch.documents[0], "document"), "queries": made(batch.queries, "query")}
    for side, terms in wanted.items():
        assert float((found[side].sparse > 0).sum(dim=1).float().mean()) == pytest.approx(terms, abs=0.5)


@pytest.mark.parametrize(("head", "terms"), [(Sparse(), 100_000), (Sparse(query_encoding="bag_of_words"), 50)])
def test_logit_bias_is_unchanged_if_the_target_cannot_be_reached(head: Sparse, terms: int, corpus: Corpus) -> None:
    made = encoder(head)
    batches = RetrievalBatches(
        made, corpus, [TrainingExample("a river", (0,)), TrainingExample("engine", (2,))], negatives=0, seed=0
    )
    calibrate_logit_bias(
        RetrievalModule(made, [Contrastive(), Flops(side="queries", target_active_dims=terms)], batches.relevance),
        batches,
    )
    assert made.config.heads == (head,)


@pytest.mark.parametrize("in_training", [True, False])
def test_pruned_terms_are_regularized_and_not_scored(in_training: bool, corpus: Corpus) -> None:
    made = encoder(Dense("cls"), Sparse(document_top_k=2, query_top_k=1, top_k_in_training=in_training))
    batches = RetrievalBatches(
        made, corpus, [TrainingExample("a river", (0,)), TrainingExample("engine", (2,))], negatives=0, seed=0
    )
    module = RetrievalModule(made, [Recording()], batches.relevance)
    module.global_losses(module(module.sample(batches(np.arange(2), 0, CPU))).embeddings)
    found = seen.pop()
    active = (found.documents.sparse > 0).sum(dim=1)
    assert (active <= 2).all() == in_training
    assert ((found.for_view("sparse").documents.sparse > 0).sum(dim=1) == active).all()
    assert (Flops().term_weights(found) > 0).sum(dim=1).min() > 2


def test_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Contrastive(temperature=0.0)
