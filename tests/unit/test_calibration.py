"""Probabilities: a curve that rises and is right where the truth is known, errors written out, and the verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import toys
from encloze.backbones._scoring import load_scorer
from encloze.calibration import Calibration, brier, calibration_error
from encloze.cli.main import main
from encloze.data.runs import read_run, write_run
from encloze.models.cross_encoder import CrossEncoder
from encloze.retrieval.retriever import Retriever
from encloze.storage.json_files import read_json

METHODS = pytest.mark.parametrize("method", ["isotonic", "platt"])


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether each is of a relevant pair, and the probability with which it was to be one."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=count) * 3
    truth = 1 / (1 + np.exp(-(0.7 * scores - 1.5)))
    return scores, draw.random(count) < truth, truth


@METHODS
def test_a_curve_rises_and_finds_the_truth(method: Any) -> None:
    scores, relevant, _ = drawn(20_000)
    curve = Calibration.fit(scores, relevant, method)
    others, again, truth = drawn(20_000, seed=1)
    found = curve(others)
    assert np.abs(found - truth).mean() < 0.02 and (np.diff(curve(np.linspace(-20, 20, 500))) >= 0).all()
    assert calibration_error(found, again) < 0.02 < 0.1 < calibration_error(1 / (1 + np.exp(-others)), again)
    assert found.min() >= 0 and found.max() <= 1


def test_the_logistic_curve_is_that_of_platts_targets() -> None:
    scores, relevant, _ = drawn(60)
    positive = int(relevant.sum())
    target = np.where(relevant, (positive + 1) / (positive + 2), 1 / (len(scores) - positive + 2))

    def loss(line: np.ndarray) -> float:
        logits = line[0] * scores + line[1]
        return float((np.logaddexp(0, logits) - target * logits).sum())

    slope, level = minimize(loss, np.zeros(2), method="BFGS").x
    found = Calibration.fit(scores, relevant, "platt")(np.sort(scores))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(slope * np.sort(scores) + level))), atol=2e-3)


def test_errors_are_written_out() -> None:
    said, relevant = np.array([0.1, 0.12, 0.9, 1.0, 0.0]), np.array([False, True, True, True, False])
    bins: dict[int, list[int]] = {}
    for pair, probability in enumerate(said):
        bins.setdefault(min(int(probability * 15), 14), []).append(pair)
    gaps = [len(pairs) / 5 * abs(said[pairs].mean() - relevant[pairs].mean()) for pairs in bins.values()]
    assert calibration_error(said, relevant) == pytest.approx(sum(gaps)) and sum(gaps) > 0.1
    assert brier(said, relevant) == pytest.approx(((said - relevant) ** 2).mean())


@METHODS
@pytest.mark.parametrize(("relevant", "says"), [(True, "all of the 4 pairs are"), (False, "none of the 4 pairs are")])
def test_pairs_that_are_all_alike_teach_nothing(relevant: bool, says: str, method: Any) -> None:
    with pytest.raises(ValueError, match=says):
        Calibration.fit(np.arange(4.0), np.full(4, relevant), method)


def test_a_score_that_says_nothing_has_one_probability() -> None:
    scores, relevant = np.zeros(10), np.arange(10) < 3
    for method in ("isotonic", "platt"):
        found = Calibration.fit(scores, relevant, method)(np.array([-1.0, 0.0, 5.0]))  # type: ignore[arg-type]
        assert found == pytest.approx([0.3] * 3, abs=0.05)


@pytest.mark.parametrize("shift", [-5.0, 0.0, 5.0])
def test_a_score_that_says_the_contrary_has_the_probability_of_any_pair(shift: float) -> None:
    draw = np.random.default_rng(4)
    relevant = draw.random(4000) < 0.06
    scores = draw.normal(size=4000) - relevant + shift
    found = Calibration.fit(scores, relevant, "platt")(np.array([shift - 3, shift + 3]))
    assert found == pytest.approx([0.06] * 2, abs=0.01)


# ------------------------------------------------------------------------------------------------------------- the verb

Verb = Callable[..., int]


@pytest.fixture
def verb(dataset: Path) -> Verb:
    def run(*words: Any) -> int:
        return main([str(word) for word in (*words, "--dataset", dataset, "--split", "dev")])

    return run


@pytest.fixture
def scored(verb: Verb, tmp_path: Path, dataset: Path) -> tuple[Path, Path]:
    """A re-ranker with random weights, and its scores of what some system ranks for the queries of dev."""
    tokenizer = toys.tokenizer()
    toys.backbone(tokenizer.size).save(tmp_path / "start")
    tokenizer.save(tmp_path / "start", 64)
    CrossEncoder(load_scorer(tmp_path / "start"), tokenizer, 64).save(tmp_path / "reranker")
    documents = [str(d["_id"]) for d in toys.documents()]
    run = {f"q-{d}": {d: 2.0} | dict.fromkeys(documents[::9], 1.0) for d in documents}
    write_run(tmp_path / "run.trec", run)
    given = ("--model", tmp_path / "reranker", "--candidates", tmp_path / "run.trec")
    assert verb("score", *given, "--relevant", "false", "--output", tmp_path / "scores") == 0
    return tmp_path / "reranker", tmp_path / "scores"


@METHODS
def test_hits_of_a_calibrated_re_ranker_have_probabilities(
    method: str, verb: Verb, scored: tuple[Path, Path], tmp_path: Path, dataset: Path, capsys: Any
) -> None:
    model, scores = scored
    given = ("--model", model, "--scores", scores, "--method", method, "--folds", 2)
    assert verb("calibrate", *given, "--output", tmp_path / "calibrated") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "calibrated: calibration error 0." in said and "probability 0.10 or more" in said
    index = tmp_path / "index"
    assert main(["index", "--corpus", str(dataset), "--indexes", "bm25", "--output", str(index)]) == 0
    searcher = Retriever.load(index, reranker=str(tmp_path / "calibrated"), precision="float32", rerank_depth=3)
    hits = [hit for _, hit in searcher.search("tell me about the river history", k=5)]
    reranker = CrossEncoder.trained(str(tmp_path / "calibrated"), precision="float32")
    assert reranker.calibration is not None
    for hit in hits[:3]:
        assert hit.parts["probability"] == pytest.approx(float(reranker.calibration(np.array([hit.score]))[0]))
    assert all("probability" not in hit.parts for hit in hits[3:])  # they were not read
    again = CrossEncoder.trained(str(model), precision="float32")
    assert again.calibration is None and read_json(tmp_path / "calibrated" / "inputs.json")["inputs"]["scores"]


def test_scores_of_a_hubs_model_are_known_by_its_name(
    verb: Verb, scored: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scores = scored
    monkeypatch.setattr("encloze.commands.calibrate.locate", lambda name: model)
    monkeypatch.setattr("encloze.commands.calibrate.is_cross_encoder", lambda name: True)
    (scores / "inputs.json").write_text(json.dumps({"inputs": {"model": {"name": "someones/reranker"}}}))
    given = ("--scores", scores, "--folds", 2)
    assert verb("calibrate", "--model", "someones/reranker", *given, "--output", tmp_path / "made") == 0
    assert verb("calibrate", "--model", "someones/other", *given, "--output", tmp_path / "no") == 2


def test_the_error_that_is_told_is_of_queries_that_were_not_learnt_from(
    verb: Verb, scored: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    """Scores that say nothing: a curve that is judged on its own pairs would seem to know something."""
    model, scores = scored
    draw = np.random.default_rng(0)
    noise = {query: {d: float(draw.normal()) for d in found} for query, found in read_run(scores).items()}
    write_run(scores / "run.trec", noise)
    assert verb("calibrate", "--model", model, "--scores", scores, "--output", tmp_path / "calibrated") == 0
    said = " ".join(capsys.readouterr().out.split())
    told = float(said.partition(" calibrated: calibration error ")[2].partition(",")[0])
    card = json.loads((tmp_path / "calibrated" / "reranker.json").read_text())["calibration"]
    curve = Calibration(tuple(card["scores"]), tuple(card["probabilities"]))
    pairs = [(s, query.removeprefix("q-") == d) for query, found in noise.items() for d, s in found.items()]
    own = calibration_error(curve(np.array([s for s, _ in pairs])), np.array([r for _, r in pairs]))
    assert told > own + 0.01
    assert "probability 0.90 or more: no pair" in said and "nan" not in said


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("another model", "holds the scores of another model than"),
        ("relevant ones added", "Run score again with --relevant false"),
        ("of another verb", "was written by evaluate, not by score"),
        ("no re-ranker", "is no re-ranker. Train one with finetune_reranker"),
        ("few queries", "only 1 queries are scored, for 5 folds"),
        ("nothing relevant", "none of the"),
        ("another split", "scores nothing for the queries of the split 'dev'"),
        ("folds", "folds must be 2 or more, not 1"),
    ],
)
def test_what_would_make_wrong_probabilities_is_refused(
    fault: str, says: str, verb: Verb, scored: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    model, scores = scored
    more: tuple[object, ...] = ()
    run = read_run(scores)
    if fault == "another model":
        (scores / "inputs.json").write_text(json.dumps({"inputs": {"model": {"path": "x", "sha256": "0"}}}))
    elif fault == "relevant ones added":
        file = scores / "recipe.yaml"
        file.write_text(file.read_text().replace("relevant: false", "relevant: true"))
    elif fault == "of another verb":
        scores = tmp_path / "judged"
        given = ("--systems", "bm25", "--split", "train", "--output", scores)
        assert verb("evaluate", *given) == 0
    elif fault == "no re-ranker":
        model = tmp_path / "start"
    elif fault == "few queries":
        write_run(scores / "run.trec", dict([next(iter(run.items()))]))
    elif fault == "nothing relevant":
        write_run(scores / "run.trec", {q: {d: s for d, s in of.items() if d not in q} for q, of in run.items()})
    elif fault == "another split":
        write_run(scores / "run.trec", {"q-river-history": {"river-history": 1.0}})
    else:
        more = ("--folds", 1)
    capsys.readouterr()
    assert verb("calibrate", "--model", model, "--scores", scores, "--output", tmp_path / "out", *more) == 2
    assert says in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()
