"""Tests of monitors and validation: metrics, no effect on training, best weights, early stopping."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import toys
from encloze.commands.pretrain import Pretrain
from encloze.data.formats.base import Format
from encloze.data.records import Run
from encloze.errors import RecipeError
from encloze.evaluation.measures import compute_measures
from encloze.models.origins.base import Origin
from encloze.objectives.base import Objective
from encloze.training.arguments import TrainingArguments
from encloze.training.monitors.base import Monitor
from encloze.training.monitors.bottleneck import pair_across_sources
from encloze.training.monitors.retrieval import Retrieval
from encloze.training.validation import ValidationSettings, select_held_out

TRAINING = TrainingArguments(learning_rate=3e-3, steps=12, precision="float32", logging_steps=4, save_steps=0)
ALL = tuple(Monitor.from_name(name) for name in ("held_out", "bottleneck", "embeddings", "vocabulary"))
FINDS = Retrieval(documents=60, finetuning_steps=4, finetuning_batch_size=8, max_tokens=32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Pairs of neighboring texts; each of 120 pairs has its own words."""
    draw, words = random.Random(0), [word for text in toys.texts() for word in text.split()]
    rows = []
    for source in range(120):
        own = [*draw.sample(words, 6), draw.choice(("hydroelectricity", "photosynthesis", "thermodynamics"))]
        for position in range(2):
            text = " ".join(draw.choices(own, k=14))
            rows.append({"_id": f"{source}-{position}", "title": own[0], "text": text, "doc_id": str(source)})
            rows[-1]["position"] = position  # type: ignore[assignment]
    file = tmp_path / "corpus" / "corpus.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file.parent


@pytest.fixture
def pretrain(corpus: Path, model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Runs a pre-training and returns its folder."""

    def run(name: str = "out", objective: str = "retromae", **settings: Any) -> Path:
        values: dict[str, Any] = {"batch_tokens": 1024, "training": TRAINING, **settings}
        start = Origin.from_name(str(model)) if "start" not in values else values.pop("start")
        if objective == "simcse":
            toys.encoder("bert", toys.tokenizer().vocab_size, dropout=0.1).save(model)
        Pretrain(
            Format.from_name(str(corpus)), start, Objective.from_name(objective), tmp_path / name, 32, **values
        ).run()
        return tmp_path / name

    return run


def evaluations(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "monitors.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.filterwarnings("ignore:.*two consecutive evaluations")  # SimCSE has equal views without dropout
@pytest.mark.parametrize("objective", Objective.members())
def test_monitors_support_every_objective(objective: str, pretrain: Callable[..., Path]) -> None:
    monitors = (*ALL, FINDS) if objective != "mlm" else ALL
    slow = replace(TRAINING, learning_rate=1e-3)
    seen = evaluations(
        pretrain(objective=objective, monitors=monitors, validation=ValidationSettings(evaluations=1), training=slow)
    )
    assert [record["step"] for record in seen] == [0, 12]
    assert all(math.isfinite(value) for record in seen for value in record.values())
    names = set(seen[0])
    assert {
        "embeddings.effective_rank",
        "embeddings.mean_cosine",
        "vocabulary.never_activated",
        "vocabulary.active_dims",
    } <= names
    if objective in ("retromae", "cotmae", "lexmae", "condenser"):
        assert {"bottleneck.decoder_own", "bottleneck.decoder_shuffled", "held_out.perplexity"} <= names
        assert seen[-1]["held_out.decoder"] < seen[0]["held_out.decoder"]
        assert seen[0]["bottleneck.decoder_own"] == pytest.approx(seen[0]["held_out.decoder"], rel=0.05)
        for record in seen:
            gap = record["bottleneck.decoder_shuffled"] - record["bottleneck.decoder_own"]
            assert record["bottleneck.decoder_gap"] == pytest.approx(gap, abs=1e-6)
            assert record["bottleneck.decoder_gap_low"] < gap < record["bottleneck.decoder_gap_high"]
    if objective != "mlm":
        assert all(0 <= record[f"retrieval.{m}"] <= 1 for record in seen for m in ("zero_shot", "finetuned"))


def test_monitors_do_not_change_the_weights(pretrain: Callable[..., Path]) -> None:
    often = pretrain("often", monitors=(*ALL, FINDS), validation=ValidationSettings(evaluations=3))
    once = pretrain("once", monitors=(Monitor.from_name("held_out"),), validation=ValidationSettings(evaluations=1))
    for file in ("model.safetensors", "decoders.safetensors"):
        assert (often / file).read_bytes() == (once / file).read_bytes()


def test_best_weights_are_saved_and_early_stopping_ends_the_run(pretrain: Callable[..., Path]) -> None:
    wild = replace(TRAINING, learning_rate=1.0, lr_scheduler="constant", warmup_ratio=0.0, max_grad_norm=1e9)
    validation = ValidationSettings(evaluations=6, metric_for_best_model="held_out.encoder", early_stopping_patience=2)
    with pytest.warns(UserWarning, match="in two consecutive evaluations"):
        folder = pretrain(monitors=(Monitor.from_name("held_out"),), validation=validation, training=wild)
    seen = evaluations(folder)
    best = min(seen, key=lambda record: record["held_out.encoder"])
    assert len(seen) == seen.index(best) + 1 + 2 < 7  # exactly two evaluations without improvement
    again = pretrain(
        "rerun",
        start=Origin.from_name(str(folder)),
        monitors=(Monitor.from_name("held_out"),),
        validation=ValidationSettings(evaluations=1),
        training=replace(TRAINING, learning_rate=1e-30, steps=1),
    )
    assert evaluations(again)[0]["held_out.encoder"] == pytest.approx(best["held_out.encoder"], rel=1e-5)


def test_metric_that_cannot_select_the_best_model_is_refused(pretrain: Callable[..., Path]) -> None:
    with pytest.raises(
        RecipeError, match="'retrieval.zero_shot' cannot select the best model. Choose one of: held_out"
    ):
        pretrain(validation=ValidationSettings(metric_for_best_model="retrieval.zero_shot"))
    with pytest.raises(RecipeError, match="'vocabulary.active_dims' cannot select"):
        pretrain(validation=ValidationSettings(metric_for_best_model="vocabulary.active_dims"), monitors=ALL)
    with pytest.raises(
        RecipeError, match="'held_out.nothing' cannot select the best model. Choose one of: held_out.encoder"
    ):
        pretrain(validation=ValidationSettings(metric_for_best_model="held_out.nothing"), name="other")
    with pytest.raises(ValueError, match="early_stopping_patience needs metric_for_best_model"):
        ValidationSettings(early_stopping_patience=2)


def test_retrieval_by_titles_and_by_queries(pretrain: Callable[..., Path], dataset: Path) -> None:
    for settings in ({"task": "titles"}, {"task": "queries", "dataset": dataset}):
        monitor = replace(FINDS, **settings)  # type: ignore[arg-type]
        seen = evaluations(
            pretrain(str(settings["task"]), monitors=(monitor,), validation=ValidationSettings(evaluations=1))
        )
        assert 0 < seen[0]["retrieval.finetuned"] <= 1
        assert seen[0]["retrieval.finetuned"] != seen[-1]["retrieval.finetuned"]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_cosine_similarities_are_float32(
    pretrain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pooling: str
) -> None:
    seen: list[float] = []

    def spy(run: Run, *rest: Any) -> dict[str, np.ndarray]:
        seen.extend(score for found in run.values() for score in found.values())
        return compute_measures(run, *rest)

    monkeypatch.setattr("encloze.training.monitors.retrieval.compute_measures", spy)
    monitor = replace(FINDS, pooling=pooling, finetuning_steps=0)  # type: ignore[arg-type]
    pretrain(monitors=(monitor,), training=replace(TRAINING, steps=1, precision="bfloat16"))
    scores = torch.tensor(seen)
    assert (scores.bfloat16().float() != scores).float().mean() > 0.9


def test_pooling_may_differ_from_the_objective(pretrain: Callable[..., Path]) -> None:
    def first_evaluation(pooling: Literal["cls", "mean"] | None) -> dict[str, float]:
        monitors, training = (replace(FINDS, pooling=pooling),), replace(TRAINING, steps=1)
        folder = pretrain(
            str(pooling), monitors=monitors, validation=ValidationSettings(evaluations=1), training=training
        )
        return evaluations(folder)[0]

    assert first_evaluation(None) == first_evaluation("cls") != first_evaluation("mean")


def test_whole_sources_are_held_out_of_training() -> None:
    groups = np.repeat(np.arange(100), 4)
    texts = np.arange(400)
    held_out = select_held_out(groups, texts, 1000, seed=3)
    assert 16 <= held_out.sum() <= 20  # 5 % of 400
    assert set(groups[held_out]).isdisjoint(groups[~held_out])
    assert (select_held_out(groups, texts, 1000, seed=3) == held_out).all()
    assert (select_held_out(groups, texts, 1000, seed=4) != held_out).any()
    assert (select_held_out(groups, texts[::2], 1000, seed=3) == held_out[::2]).all()
    assert not select_held_out(np.arange(40), np.arange(40), 1000, seed=0).any()  # 2 texts are fewer than 8
    assert select_held_out(np.arange(4000), np.arange(4000), 50, seed=0).sum() == 50


def test_texts_are_paired_across_sources() -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 5, 5])
    numbers = np.array([0, 1, 2, 4, 6, 7])
    assert pair_across_sources(numbers, group) == [(0, 7), (1, 7), (2, 7), (4, 2), (6, 4), (7, 4)]
    assert pair_across_sources(np.array([0, 1, 2]), group) == [(0, 2), (1, 0), (2, 1)]  # a single source


def test_nothing_is_held_out_if_too_few_texts_have_a_context(tmp_path: Path, model: Path) -> None:
    texts = toys.texts()
    rows = [{"_id": f"a{n}", "text": f"{n} {texts[n % 40]}"} for n in range(300)]  # without neighbors
    rows += [{"_id": f"b{n}", "text": texts[n % 40], "doc_id": f"d{n // 2}", "position": n % 2} for n in range(40)]
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for seed in range(4):
        corpus, start = Format.from_name(str(file)), Origin.from_name(str(model))
        made = Pretrain(corpus, start, Objective.from_name("cotmae"), tmp_path / "out", 32, seed=seed).prepare()
        assert len(made.data.held_out) == 0 and len(made.data.training) == 40


def test_warnings_of_collapse_and_overfitting(pretrain: Callable[..., Path]) -> None:
    wild = replace(TRAINING, learning_rate=1.0, lr_scheduler="constant", warmup_ratio=0.0, max_grad_norm=1e9)
    with pytest.warns(UserWarning, match="in two consecutive evaluations|have collapsed"):
        pretrain(monitors=ALL[:3], validation=ValidationSettings(evaluations=4), training=wild)


def test_embedding_distillation_keeps_embeddings_closer(pretrain: Callable[..., Path], model: Path) -> None:
    texts = [list(range(5, 15)), list(range(20, 40, 2))]

    def moved(folder: Path) -> float:
        before, after = (toys_embeddings(place, texts) for place in (model, folder))
        return float((1 - torch.nn.functional.cosine_similarity(before, after)).mean())

    free, kept = pretrain("free", monitors=()), pretrain("kept", embedding_distillation=20.0, monitors=())
    assert moved(kept) < 0.5 * moved(free)
    lines = (kept / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert "embedding_distillation" in json.loads(lines[0])
    assert load_file(kept / "decoders.safetensors").keys() == load_file(free / "decoders.safetensors").keys()


def toys_embeddings(folder: Path, texts: list[list[int]]) -> torch.Tensor:
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return torch.stack([encoder(torch.tensor([ids])).last_hidden_state[0, 0] for ids in texts])


def test_new_words_are_added_to_the_vocabulary(pretrain: Callable[..., Path], model: Path) -> None:
    from encloze.text.tokenizer import Tokenizer

    folder = pretrain(new_words=3, monitors=())
    before, after = Tokenizer.load(model), Tokenizer.load(folder)
    assert before.vocab_size < after.vocab_size <= before.vocab_size + 3
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == after.vocab_size
