"""Re-rankers: inputs equal those of the tokenizer, scores those of transformers, and their commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

import toys
from encloze.cli.main import main
from encloze.commands import score as scoring
from encloze.data.runs import read_run, write_run
from encloze.errors import CheckpointError, RecipeError, StorageError
from encloze.models.cross_encoder import CrossEncoder
from encloze.text.text_pairs import pad_pairs

KINDS = ("bert", "roberta", "xlm_roberta", "distilbert", "mpnet", "deberta_v2", "electra", "modernbert")
PAIRS = [
    ("a river", "the river has many parts and every part must fit"),
    ("engine", "a broken engine is mended slowly with simple tools " * 4),
    ("glacier dangers", ""),
]
TRAINING = ("--training.precision", "float32", "--training.logging_steps", "2")


def save_encoder(folder: Path, kind: str = "bert") -> Path:
    """Save a tiny encoder with its tokenizer."""
    folder.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.vocab_size).save(folder)
    tokenizer.save(folder, 64)
    return folder


# Pairs


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("a river", "pairs: expected a list of pairs of texts, found str"),
        ([("a river",)], r"pairs\[0\]: expected a query and a document"),
        ([("a", "b"), ("a", 1)], r"pairs\[1\]: expected a query and a document"),
        ([("a", "\ud800")], r"pairs\[0\]: expected a query and a document"),
    ],
)
def test_what_is_no_pair_of_texts_is_refused(pairs: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        CrossEncoder.load(str(save_encoder(tmp_path / "m"))).score(pairs)


def test_padded_pairs_equal_the_encoding_of_the_tokenizer() -> None:
    tokenizer = toys.tokenizer()
    queries, documents = (tokenizer.encode([pair[side] for pair in PAIRS]) for side in (0, 1))
    padded = pad_pairs(queries, documents, tokenizer, 200)
    for row, (query, document) in enumerate(PAIRS):
        expected = tokenizer.backend.encode(query, document)
        real = padded.attention_mask[row]
        assert padded.ids[row][real].tolist() == expected.ids
        assert padded.token_type_ids[row][real].tolist() == expected.type_ids
        assert (padded.ids[row][~real] == tokenizer.special_id("pad")).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 50), st.sampled_from(["left", "right"]))
def test_pairs_are_truncated_as_by_the_tokenizer(query: int, document: int, limit: int, side: str) -> None:
    tokenizer = toys.tokenizer()
    tokenizer.truncates_left = side == "left"
    texts = [" ".join((words * 20)[:count]) for words, count in ((["river", "comet"], query), (["engine"], document))]
    queries, documents = (tokenizer.encode([text]) for text in texts)
    padded = pad_pairs(queries, documents, tokenizer, limit)
    tokenizer.backend.enable_truncation(limit, strategy="longest_first", direction=side)
    expected = tokenizer.backend.encode(*texts)
    assert padded.ids[0].tolist() == expected.ids and padded.token_type_ids[0].tolist() == expected.type_ids


# Scores


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_padding(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = CrossEncoder.load(str(save_encoder(tmp_path / "start", kind)), precision="float32", max_tokens=40)
    together = encoder.score(PAIRS)
    assert together.shape == (3,) and together.dtype == np.float32 and len(set(together.tolist())) == 3
    for pair, expected in zip(PAIRS, together, strict=True):
        np.testing.assert_allclose(encoder.score([pair]), [expected], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_a_saved_re_ranker_with_the_same_scores(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = CrossEncoder.load(str(save_encoder(tmp_path / "start", kind)), precision="float32", max_tokens=60)
    (tmp_path / "made").mkdir()
    encoder.save(tmp_path / "made")
    loaded = CrossEncoder.from_pretrained(str(tmp_path / "made"), precision="float32")
    np.testing.assert_allclose(loaded.score(PAIRS), encoder.score(PAIRS), atol=1e-6)
    assert loaded.max_tokens == 60
    model, report = AutoModelForSequenceClassification.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    joined = loaded.tokenizer.backend.encode(*PAIRS[0])
    has_types = getattr(model.config, "type_vocab_size", 0) > 1
    types = {"token_type_ids": torch.tensor([joined.type_ids])} if has_types else {}
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([joined.ids]), **types).logits
    np.testing.assert_allclose(logits[0].numpy(), loaded.score(PAIRS[:1]), atol=1e-5)


def test_scores_are_float32_under_bfloat16_autocast(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scores = torch.from_numpy(CrossEncoder.load(str(save_encoder(tmp_path / "m")), precision="bfloat16").score(PAIRS))
    assert (scores.bfloat16().float() != scores).any()


def test_models_that_were_not_trained_as_re_rankers_are_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"is not a re-ranker .*BertForMaskedLM.*finetune_reranker"):
        CrossEncoder.from_pretrained(str(folder))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {str(n): str(n) for n in range(3)}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="is a classifier with 3 labels, but a re-ranker has one output"):
        CrossEncoder.from_pretrained(str(folder))


# Commands

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> Run:
    """Return a function that runs a command on the test data, after an evaluation of BM25."""
    assert main(["evaluate", "--systems", "bm25", "--dataset", str(dataset), "--split", "train", "--output",
                 str(tmp_path / "bm25")]) == 0  # fmt: skip

    def run_command(*arguments: Any) -> int:
        return main([str(argument) for argument in (*arguments, "--dataset", dataset)])

    return run_command


@pytest.fixture
def reranker(tmp_path: Path) -> Path:
    """A saved re-ranker with a random classification head."""
    folder = tmp_path / "reranker"
    folder.mkdir()
    torch.manual_seed(0)
    CrossEncoder.load(str(save_encoder(tmp_path / "encoder"))).save(folder)
    return folder


def train_reranker(run: Run, tmp_path: Path, *flags: Any) -> Path:
    """Train a re-ranker on the test data."""
    start = save_encoder(tmp_path / "start")
    negatives = ("--negatives", tmp_path / "bm25" / "runs" / "bm25.trec", "--negatives_per_query", 3)
    settings = ("--training.steps", 60, "--training.learning_rate", 3e-3, "--batch_size", 5, *TRAINING, *flags)
    assert run("finetune_reranker", "--model", start, "--output", tmp_path / "ce", *negatives, *settings) == 0
    return tmp_path / "ce"


@pytest.mark.parametrize("loss", ["listwise", "pairwise", "pointwise"])
def test_a_re_ranker_is_trained_and_evaluated(
    loss: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_reranker(run, tmp_path, "--losses", f"[{loss}]")
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log[-1][loss] < 0.85 * log[0][loss] and log[-1]["top1_accuracy"] > log[0]["top1_accuracy"]
    evaluate = ("evaluate", "--systems", "bm25", "--split", "dev", "--reranker", folder, "--rerank_depth", 5)
    assert run(*evaluate, "--output", tmp_path / "evaluated") == 0
    assert "bm25 + ce" in capsys.readouterr().out
    runs = {file.stem: read_run(file) for file in (tmp_path / "evaluated" / "runs").iterdir()}
    plain, reranked = (next(run for name, run in runs.items() if ("ce" in name) == is_it) for is_it in (False, True))
    for query in plain:
        before, after = (sorted(run[query], key=run[query].__getitem__, reverse=True) for run in (plain, reranked))
        assert set(before) == set(after) and before[5:] == after[5:]  # documents below rerank_depth keep their order


def test_score_writes_scores_of_candidates_and_relevant_documents(run: Run, tmp_path: Path, reranker: Path) -> None:
    given = ("--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 3, "--precision", "float32")
    assert run("score", "--model", reranker, *given, "--output", tmp_path / "scores") == 0
    scores, candidates = read_run(tmp_path / "scores"), read_run(tmp_path / "bm25" / "runs" / "bm25.trec")
    assert len(scores) == 20
    for query, of_query in scores.items():
        expected = set(sorted(candidates[query], key=lambda d: (candidates[query][d], d), reverse=True)[:3])
        assert set(of_query) == expected | {query.removeprefix("q-")}
    encoder = CrossEncoder.from_pretrained(str(reranker), precision="float32")
    query, of_query = next(iter(scores.items()))
    texts = {str(d["_id"]): f"{d['title']} {d['text']}" for d in toys.documents()}
    text = next(str(q["text"]) for q in toys.queries() if q["_id"] == query)
    expected = encoder.score([(text, texts[document]) for document in of_query])
    np.testing.assert_allclose(list(of_query.values()), expected, atol=1e-5)
    distillation = ("--teacher", tmp_path / "scores", "--negatives", tmp_path / "scores", "--losses", "[kl_divergence]")
    student = ("--model", save_encoder(tmp_path / "student"), "--output", tmp_path / "distilled", "--batch_size", 4)
    assert run("finetune", *student, *distillation, "--training.steps", 3, *TRAINING, "--negatives_per_query", 2) == 0


def test_scores_do_not_depend_on_the_sample_of_queries(run: Run, tmp_path: Path, reranker: Path) -> None:
    given = ("--model", reranker, "--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 3)
    runs = dict[str, dict[str, dict[str, float]]]()
    for name, values in (("all", ()), ("some", (5,)), ("more", (8,)), ("others", (5, "--seed", 1))):
        flags = ("--max_queries", *values) if values else ()
        assert run("score", *given, *flags, "--precision", "float32", "--output", tmp_path / name) == 0
        runs[name] = read_run(tmp_path / name)
    assert [len(runs[name]) for name in runs] == [20, 5, 8, 5]
    assert runs["some"].keys() < runs["more"].keys() and runs["some"].keys() != runs["others"].keys()
    for query, scores in runs["more"].items():
        assert scores == pytest.approx(runs["all"][query], abs=1e-5)  # batches contain other texts
    assert run("score", *given, "--max_queries", 0, "--output", tmp_path / "none") == 2


def test_interrupted_scoring_is_resumed(
    run: Run, tmp_path: Path, reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--model", reranker, "--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 4)
    given += ("--precision", "float32")
    monkeypatch.setattr(scoring, "BATCH_SIZE", 3)
    assert run("score", *given, "--output", tmp_path / "whole") == 0

    class Killed(BaseException):
        """The process is killed."""

    calls, score = [], CrossEncoder.score

    def killed_in_the_third_call(self: CrossEncoder, pairs: Any) -> np.ndarray:
        calls.append(len(pairs))
        if len(calls) == 3:
            raise Killed
        return score(self, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(CrossEncoder, "score", killed_in_the_third_call)
        with pytest.raises(Killed):
            run("score", *given, "--output", tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
    partial = tmp_path / "scores.checkpoint" / "run.trec.partial"
    with partial.open("a") as stream:
        stream.write("q-comet-repair Q0 half-a-li")  # a kill can leave half a line
    calls.clear()
    monkeypatch.setattr(CrossEncoder, "score", lambda self, pairs: calls.append(len(pairs)) or score(self, pairs))
    assert (
        run("score", *given, "--output", tmp_path / "scores") == 2
    )  # without --resume the checkpoint is not overwritten
    assert run("score", *given, "--output", tmp_path / "scores", "--resume") == 0
    assert len(calls) == 5  # six of twenty queries were finished
    assert (tmp_path / "scores" / "run.trec").read_text() == (tmp_path / "whole" / "run.trec").read_text()
    assert not partial.parent.exists()


def test_search_results_are_re_ranked(run: Run, tmp_path: Path, reranker: Path, capsys: Any) -> None:
    assert run("index", "--indexes", "bm25", "--output", tmp_path / "index") == 0
    capsys.readouterr()
    command = ["search", "tell me about the river history", "--index", str(tmp_path / "index")]
    assert main([*command, "--reranker", str(reranker)]) == 0
    assert "(found " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--losses", "[contrastive]"), "contrastive uses in-batch negatives, which a cross-encoder does not"),
        (("--losses", "[margin_mse]"), "requires teacher scores: set teacher"),
        (("--max_tokens", "4096"), "max_tokens is 4096, but"),
        (("--split", "test"), "the run of negatives has no negative for any query of the split 'test'"),
        (("--negatives_per_query", "0"), "negatives_per_query must be 1 or more"),
    ],
)
def test_invalid_training_settings_are_refused(
    flags: tuple[str, str], message: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", save_encoder(tmp_path / "start"), "--negatives", tmp_path / "bm25" / "runs" / "bm25.trec")
    assert run("finetune_reranker", *given, "--output", tmp_path / "ce", *flags) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.glob("ce*"))


def test_queries_without_candidates_are_skipped_with_a_warning(
    run: Run, tmp_path: Path, reranker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candidates = read_run(tmp_path / "bm25" / "runs" / "bm25.trec")
    some = list(candidates)[:2]
    write_run(tmp_path / "some.trec", {query: {**candidates[query], "gone": 99.0} for query in some})
    given = ("--model", reranker, "--candidates", tmp_path / "some.trec", "--depth", 3)
    capsys.readouterr()
    assert run("score", *given, "--output", tmp_path / "scores") == 0
    output = " ".join(capsys.readouterr().err.split())
    assert "18 of 20 queries have no candidates and are skipped" in output
    assert "1 documents of" in output and "and are skipped, for example gone" in output
    assert list(read_run(tmp_path / "scores")) == some


def test_candidates_of_another_split_are_refused(
    run: Run, tmp_path: Path, reranker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--output", tmp_path / "scores")
    assert run("score", "--model", reranker, *given, "--split", "test") == 2
    assert "ranks no document for the queries of the split 'test'" in capsys.readouterr().err
    assert not list(tmp_path.glob("scores*"))


def test_a_saved_re_ranker_gives_the_same_scores(tmp_path: Path) -> None:
    reranker = CrossEncoder.load(str(save_encoder(tmp_path / "start")), precision="float32")
    reranker.save_pretrained(tmp_path / "saved")
    again = CrossEncoder.from_pretrained(str(tmp_path / "saved"), precision="float32")
    np.testing.assert_allclose(again.score(PAIRS), reranker.score(PAIRS), atol=1e-6)
    with pytest.raises(StorageError, match="exists already"):
        reranker.save_pretrained(tmp_path / "saved")


def test_a_re_ranker_with_fewer_layers_learns_the_scores_of_the_whole_one(
    run: Run, tmp_path: Path, reranker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    negatives = tmp_path / "bm25" / "runs" / "bm25.trec"
    scored = (
        "score",
        "--model",
        reranker,
        "--candidates",
        negatives,
        "--split",
        "train",
        "--output",
        tmp_path / "scores",
    )
    assert run(*scored) == 0
    train = ("finetune_reranker", "--model", reranker, "--negatives", negatives, "--teacher", tmp_path / "scores",
             "--losses", "margin_mse", "--training.steps", 3, *TRAINING)  # fmt: skip
    assert run(*train, "--layers", 1, "--output", tmp_path / "small") == 0
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert CrossEncoder.from_pretrained(str(tmp_path / "small")).score([("river", "a river")]).shape == (1,)
    assert run(*train, "--layers", 9, "--output", tmp_path / "wrong") == 2
    assert "layers: the model has 2 layers: a copy can have from 1 to 2, not 9" in capsys.readouterr().err
    assert run(*train, "--layers", 2, "--training.learning_rate", 1e-12, "--output", tmp_path / "same") == 0
    pairs = [("river", "a river"), ("comet", "engines")]
    whole, same = (CrossEncoder.from_pretrained(str(tmp_path / name)).score(pairs) for name in ("reranker", "same"))
    np.testing.assert_allclose(whole, same, atol=1e-4)
