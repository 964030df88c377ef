"""Calibration: fitted functions against known probabilities, errors written out, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import toys
from encloze.backbones.hf.classification import load_cross_encoder
from encloze.calibration import Calibration, brier_score, calibration_error
from encloze.cli.main import main
from encloze.commands.calibrate import Calibrate
from encloze.data.runs import read_run, write_run
from encloze.models.cross_encoder import CrossEncoder
from encloze.retrieval.retriever import Retriever
from encloze.storage.json_files import read_json
from encloze.storage.manifest import write_manifest

METHODS = pytest.mark.parametrize("method", ["isotonic", "platt"])


def sample_pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, whether each pair is relevant, and the probability by which this was drawn."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=count) * 3
    truth = 1 / (1 + np.exp(-(0.7 * scores - 1.5)))
    return scores, random.random(count) < truth, truth


@METHODS
def test_a_calibration_is_monotonic_and_close_to_the_true_probabilities(method: Any) -> None:
    scores, relevant, _ = sample_pairs(20_000)
    calibration = Calibration.fit(scores, relevant, method)
    scores, relevant, truth = sample_pairs(20_000, seed=1)
    probabilities = calibration(scores)
    assert np.abs(probabilities - truth).mean() < 0.02
    assert (np.diff(calibration(np.linspace(-20, 20, 500))) >= 0).all()
    assert calibration_error(probabilities, relevant) < 0.02
    assert calibration_error(1 / (1 + np.exp(-scores)), relevant) > 0.1
    assert probabilities.min() >= 0 and probabilities.max() <= 1


def test_platt_scaling_minimizes_the_loss_with_platts_targets() -> None:
    scores, relevant, _ = sample_pairs(60)
    positive = int(relevant.sum())
    target = np.where(relevant, (positive + 1) / (positive + 2), 1 / (len(scores) - positive + 2))

    def loss(parameters: np.ndarray) -> float:
        logits = parameters[0] * scores + parameters[1]
        return float((np.logaddexp(0, logits) - target * logits).sum())

    coefficient, intercept = minimize(loss, np.zeros(2), method="BFGS").x
    probabilities = Calibration.fit(scores, relevant, "platt")(np.sort(scores))
    expected = 1 / (1 + np.exp(-(coefficient * np.sort(scores) + intercept)))
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)


def test_calibration_error_and_brier_score_written_out() -> None:
    predicted, relevant = np.array([0.1, 0.12, 0.9, 1.0, 0.0]), np.array([False, True, True, True, False])
    bins: dict[int, list[int]] = {}
    for pair, probability in enumerate(predicted):
        bins.setdefault(min(int(probability * 15), 14), []).append(pair)
    errors = [len(pairs) / 5 * abs(predicted[pairs].mean() - relevant[pairs].mean()) for pairs in bins.values()]
    assert calibration_error(predicted, relevant) == pytest.approx(sum(errors)) and sum(errors) > 0.1
    assert brier_score(predicted, relevant) == pytest.approx(((predicted - relevant) ** 2).mean())


@METHODS
@pytest.mark.parametrize(
    ("relevant", "message"), [(True, "all of the 4 pairs are"), (False, "none of the 4 pairs are")]
)
def test_pairs_of_one_class_are_refused(relevant: bool, message: str, method: Any) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration.fit(np.arange(4.0), np.full(4, relevant), method)


def test_constant_scores_have_one_probability() -> None:
    scores, relevant = np.zeros(10), np.arange(10) < 3
    for method in ("isotonic", "platt"):
        found = Calibration.fit(scores, relevant, method)(np.array([-1.0, 0.0, 5.0]))  # type: ignore[arg-type]
        assert found == pytest.approx([0.3] * 3, abs=0.05)


@pytest.mark.parametrize("shift", [-5.0, 0.0, 5.0])
def test_inverted_scores_have_the_overall_fraction_of_relevant_pairs(shift: float) -> None:
    random = np.random.default_rng(4)
    relevant = random.random(4000) < 0.06
    scores = random.normal(size=4000) - relevant + shift
    found = Calibration.fit(scores, relevant, "platt")(np.array([shift - 3, shift + 3]))
    assert found == pytest.approx([0.06] * 2, abs=0.01)


# The command

Run = Callable[..., int]


@pytest.fixture
def run(dataset: Path) -> Run:
    """Return a function that runs a command on the split dev of the test data."""

    def run_command(*arguments: Any) -> int:
        return main([str(argument) for argument in (*arguments, "--dataset", dataset, "--split", "dev")])

    return run_command


@pytest.fixture
def scored(run: Run, tmp_path: Path, dataset: Path) -> tuple[Path, Path]:
    """A re-ranker with random weights, and its scores of a run for the queries of dev."""
    tokenizer = toys.tokenizer()
    toys.backbone(tokenizer.vocab_size).save(tmp_path / "start")
    tokenizer.save(tmp_path / "start", 64)
    CrossEncoder(load_cross_encoder(tmp_path / "start"), tokenizer, 64).save(tmp_path / "reranker")
    documents = [str(d["_id"]) for d in toys.documents()]
    ranking = {f"q-{d}": {d: 2.0} | dict.fromkeys(documents[::9], 1.0) for d in documents}
    write_run(tmp_path / "run.trec", ranking)
    given = ("--model", tmp_path / "reranker", "--candidates", tmp_path / "run.trec")
    assert run("score", *given, "--include_relevant", "false", "--output", tmp_path / "scores") == 0
    return tmp_path / "reranker", tmp_path / "scores"


@METHODS
def test_hits_of_a_calibrated_re_ranker_have_probabilities(
    method: str, run: Run, scored: tuple[Path, Path], tmp_path: Path, dataset: Path, capsys: Any
) -> None:
    model, scores = scored
    flags = ("--model", model, "--scores", scores, "--method", method, "--folds", 2)
    assert run("calibrate", *flags, "--output", tmp_path / "calibrated") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "calibrated: calibration error 0." in output and "probability 0.10 or more" in output
    index = tmp_path / "index"
    assert main(["index", "--corpus", str(dataset), "--indexes", "bm25", "--output", str(index)]) == 0
    retriever = Retriever.load(index, reranker=str(tmp_path / "calibrated"), precision="float32", rerank_depth=3)
    hits = retriever.search("tell me about the river history", k=5)
    reranker = CrossEncoder.from_pretrained(str(tmp_path / "calibrated"), precision="float32")
    assert reranker.calibration is not None
    for hit in hits[:3]:
        assert hit.parts["probability"] == pytest.approx(float(reranker.calibration(np.array([hit.score]))[0]))
    assert all("probability" not in hit.parts for hit in hits[3:])  # below rerank_depth
    uncalibrated = CrossEncoder.from_pretrained(str(model), precision="float32")
    assert uncalibrated.calibration is None
    assert read_json(tmp_path / "calibrated" / "inputs.json")["inputs"]["scores"]


def test_scores_of_a_hub_model_are_recognized_by_its_id(
    run: Run, scored: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scores = scored
    monkeypatch.setattr("encloze.commands.calibrate.locate", lambda name: model)
    monkeypatch.setattr("encloze.commands.calibrate.is_cross_encoder", lambda name: True)
    (scores / "inputs.json").write_text(
        json.dumps({"working_folder": "x", "inputs": {"model": {"name": "someones/reranker"}}})
    )
    write_manifest(scores)
    flags = ("--scores", scores, "--folds", 2)
    assert run("calibrate", "--model", "someones/reranker", *flags, "--output", tmp_path / "calibrated") == 0
    assert run("calibrate", "--model", "someones/other", *flags, "--output", tmp_path / "refused") == 2


def test_the_calibration_error_is_cross_validated(
    scored: tuple[Path, Path], tmp_path: Path, dataset: Path, run: Run, capsys: Any
) -> None:
    """For scores without information, the error on the fitted pairs themselves is lower."""
    model, scores = scored
    random = np.random.default_rng(0)
    noise = {query: {d: float(random.normal()) for d in ranking} for query, ranking in read_run(scores).items()}
    write_run(scores / "run.trec", noise)
    write_manifest(scores)
    result = Calibrate(dataset=str(dataset), model=str(model), scores=scores, output=tmp_path / "calibrated").run()
    settings = read_json(tmp_path / "calibrated" / "reranker.json")["calibration"]
    calibration = Calibration(tuple(settings["scores"]), tuple(settings["probabilities"]))
    pairs = [(s, query.removeprefix("q-") == d) for query, ranking in noise.items() for d, s in ranking.items()]
    on_fitted_pairs = calibration_error(calibration(np.array([s for s, _ in pairs])), np.array([r for _, r in pairs]))
    assert result.calibrated.calibration_error > on_fitted_pairs + 0.01
    assert result.operating_points[-1].precision is None  # no pair has a probability of 0.9
    assert run("calibrate", "--model", model, "--scores", scores, "--output", tmp_path / "printed") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "probability 0.90 or more: no pair" in output and "nan" not in output


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another model", "was computed by another model than"),
        ("relevant documents added", "Run score again with --include_relevant false"),
        ("another command", "was written by evaluate, not by score"),
        ("no re-ranker", "is not a re-ranker. Train one with finetune_reranker"),
        ("few queries", "only 1 queries have scores and judgments, fewer than the setting folds (5)"),
        ("nothing relevant", "none of the"),
        ("another split", "contains no scores for the queries of the split 'dev'"),
        ("folds", "folds must be 2 or more, not 1"),
    ],
)
def test_inputs_that_would_give_wrong_probabilities_are_refused(
    fault: str, message: str, run: Run, scored: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    model, scores = scored
    flags: tuple[object, ...] = ()
    rankings = read_run(scores)
    if fault == "another model":
        (scores / "inputs.json").write_text(
            json.dumps({"working_folder": "x", "inputs": {"model": {"path": "x", "sha256": "0"}}})
        )
    elif fault == "relevant documents added":
        file = scores / "recipe.yaml"
        file.write_text(file.read_text().replace("include_relevant: false", "include_relevant: true"))
    elif fault == "another command":
        scores = tmp_path / "evaluated"
        assert run("evaluate", "--systems", "bm25", "--split", "train", "--output", scores) == 0
    elif fault == "no re-ranker":
        model = tmp_path / "start"
    elif fault == "few queries":
        write_run(scores / "run.trec", dict([next(iter(rankings.items()))]))
    elif fault == "nothing relevant":
        kept = {q: {d: s for d, s in ranking.items() if d not in q} for q, ranking in rankings.items()}
        write_run(scores / "run.trec", kept)
    elif fault == "another split":
        write_run(scores / "run.trec", {"q-river-history": {"river-history": 1.0}})
    else:
        flags = ("--folds", 1)
    write_manifest(scores)
    capsys.readouterr()
    assert run("calibrate", "--model", model, "--scores", scores, "--output", tmp_path / "out", *flags) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()
