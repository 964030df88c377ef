"""Monitors: what they see is what is there, looking changes nothing, and the best weights are kept."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import toys
from encloze.commands.pretrain import Pretrain
from encloze.data.formats.base import Format
from encloze.data.records import Run
from encloze.errors import RecipeError
from encloze.evaluation.measures import measure
from encloze.models.origins.base import Origin
from encloze.objectives.base import Objective
from encloze.training.loop import Training
from encloze.training.monitors.base import Monitor
from encloze.training.monitors.bottleneck import by_others
from encloze.training.monitors.retrieval import Retrieval
from encloze.training.watching import Watching, held_out

TRAINING = Training(learning_rate=3e-3, steps=12, precision="float32", log_every=4, save_every=0)
ALL = tuple(Monitor.named(name) for name in ("held_out", "bottleneck", "embeddings", "vocabulary"))
FINDS = Retrieval(documents=60, head_start_steps=4, head_start_pairs=8, max_tokens=32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two hundred pairs of neighbours, each pair about words of its own."""
    draw, words = random.Random(0), [word for text in toys.texts() for word in text.split()]
    rows = []
    for source in range(200):
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
    """Runs a pre-training and gives its folder."""

    def run(name: str = "out", objective: str = "retromae", **settings: Any) -> Path:
        values: dict[str, Any] = {"batch_tokens": 1024, "training": TRAINING, **settings}
        start = Origin.named(str(model)) if "start" not in values else values.pop("start")
        if objective == "simcse":
            toys.encoder("bert", toys.tokenizer().size, dropout=0.1).save(model)
        Pretrain(Format.named(str(corpus)), start, Objective.named(objective), tmp_path / name, 32, **values).run()
        return tmp_path / name

    return run


def looks(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "monitors.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.filterwarnings("ignore:.*risen twice in a row")  # SimCSE's may: at rest its two views are one
@pytest.mark.parametrize("objective", Objective.members())
def test_every_objective_can_be_watched(objective: str, pretrain: Callable[..., Path]) -> None:
    monitors = (*ALL, FINDS) if objective != "mlm" else ALL
    slow = replace(TRAINING, learning_rate=1e-3)
    seen = looks(pretrain(objective=objective, monitors=monitors, watching=Watching(looks=2), training=slow))
    assert [look["step"] for look in seen] == [0, 6, 12]
    assert all(math.isfinite(value) for look in seen for value in look.values())
    names = set(seen[0])
    assert {"embeddings.rank", "embeddings.cosine", "vocabulary.dead", "vocabulary.active"} <= names
    if objective in ("retromae", "cotmae", "lexmae", "condenser"):
        assert {"bottleneck.decoder_own", "bottleneck.decoder_shuffled", "held_out.perplexity"} <= names
        assert seen[-1]["held_out.decoder"] < seen[0]["held_out.decoder"]
        assert seen[0]["bottleneck.decoder_own"] == pytest.approx(seen[0]["held_out.decoder"], rel=0.05)
        for look in seen:
            gap = look["bottleneck.decoder_shuffled"] - look["bottleneck.decoder_own"]
            assert look["bottleneck.decoder_gap"] == pytest.approx(gap, abs=1e-6)
            assert look["bottleneck.decoder_gap_low"] < gap < look["bottleneck.decoder_gap_high"]
    if objective != "mlm":
        assert all(0 <= look[f"retrieval.{figure}"] <= 1 for look in seen for figure in ("raw", "head_start"))


def test_looking_changes_nothing_that_is_learnt(pretrain: Callable[..., Path]) -> None:
    often = pretrain("often", monitors=(*ALL, FINDS), watching=Watching(looks=6))
    once = pretrain("once", monitors=(Monitor.named("held_out"),), watching=Watching(looks=1))
    for file in ("model.safetensors", "decoders.safetensors"):
        assert (often / file).read_bytes() == (once / file).read_bytes()


def test_the_best_weights_are_kept_and_patience_ends_the_run(pretrain: Callable[..., Path]) -> None:
    wild = replace(TRAINING, learning_rate=1.0, schedule="constant", warmup_share=0.0, clip=1e9)
    watching = Watching(looks=6, best="held_out.encoder", patience=2)
    with pytest.warns(UserWarning, match="has risen twice in a row"):
        folder = pretrain(monitors=(Monitor.named("held_out"),), watching=watching, training=wild)
    seen = looks(folder)
    best = min(seen, key=lambda look: look["held_out.encoder"])
    assert len(seen) == seen.index(best) + 1 + 2 < 7  # two looks without a better one, and no more
    again = pretrain(
        "rerun",
        start=Origin.named(str(folder)),
        monitors=(Monitor.named("held_out"),),
        watching=Watching(looks=1),
        training=replace(TRAINING, learning_rate=1e-30, steps=1),
    )
    assert looks(again)[0]["held_out.encoder"] == pytest.approx(best["held_out.encoder"], rel=1e-5)


def test_a_figure_that_nobody_sees_is_refused(pretrain: Callable[..., Path]) -> None:
    with pytest.raises(
        RecipeError, match="no monitor's figure 'retrieval.raw' gets better one way; these do: held_out"
    ):
        pretrain(watching=Watching(best="retrieval.raw"))
    with pytest.raises(RecipeError, match="no monitor's figure 'vocabulary.active'"):
        pretrain(watching=Watching(best="vocabulary.active"), monitors=ALL)
    with pytest.raises(RecipeError, match=r"there is no 'held_out\.nothing'; there are held_out\.encoder"):
        pretrain(watching=Watching(best="held_out.nothing"), name="other")
    with pytest.raises(ValueError, match="patience needs best"):
        Watching(patience=2)


def test_retrieval_by_titles_and_by_queries(pretrain: Callable[..., Path], dataset: Path) -> None:
    for settings in ({"task": "titles"}, {"task": "queries", "dataset": dataset}):
        monitor = replace(FINDS, **settings)  # type: ignore[arg-type]
        seen = looks(pretrain(str(settings["task"]), monitors=(monitor,), watching=Watching(looks=1)))
        assert 0 < seen[0]["retrieval.head_start"] <= 1
        assert seen[0]["retrieval.head_start"] != seen[-1]["retrieval.head_start"]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_cosines_are_compared_in_full(
    pretrain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pooling: str
) -> None:
    seen: list[float] = []

    def spy(run: Run, *rest: Any) -> dict[str, np.ndarray]:
        seen.extend(score for found in run.values() for score in found.values())
        return measure(run, *rest)

    monkeypatch.setattr("encloze.training.monitors.retrieval.measure", spy)
    monitor = replace(FINDS, pooling=pooling, head_start_steps=0)  # type: ignore[arg-type]
    pretrain(monitors=(monitor,), training=replace(TRAINING, steps=1, precision="bfloat16"))
    scores = torch.tensor(seen)
    assert (scores.bfloat16().float() != scores).float().mean() > 0.9


def test_pooling_can_be_another_than_the_objectives(pretrain: Callable[..., Path]) -> None:
    figures = [
        looks(pretrain(str(pooling), monitors=(replace(FINDS, pooling=pooling),), watching=Watching(looks=1)))[0]
        for pooling in (None, "cls", "mean")
    ]
    assert figures[0] == figures[1] != figures[2]


def test_whole_sources_are_held_out() -> None:
    groups = np.repeat(np.arange(100), 4)
    held = held_out(groups, 1000, seed=3)
    assert 16 <= held.sum() <= 20  # a twentieth of 400
    assert set(groups[held]).isdisjoint(groups[~held])
    assert (held_out(groups, 1000, seed=3) == held).all() and (held_out(groups, 1000, seed=4) != held).any()
    assert not held_out(np.arange(40), 1000, seed=0).any()  # two texts would tell nothing
    assert held_out(np.arange(4000), 50, seed=0).sum() == 50


def test_embeddings_are_exchanged_between_sources() -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 5, 5])
    numbers = np.array([0, 1, 2, 4, 6, 7])
    assert by_others(numbers, group) == [(0, 7), (1, 7), (2, 7), (4, 2), (6, 4), (7, 4)]
    assert by_others(np.array([0, 1, 2]), group) == [(0, 2), (1, 0), (2, 1)]  # of one source: any other will do


def test_too_few_texts_with_a_context_hold_nothing_out(tmp_path: Path, model: Path) -> None:
    texts = toys.texts()
    rows = [{"_id": f"a{n}", "text": f"{n} {texts[n % 40]}"} for n in range(300)]  # without neighbours
    rows += [{"_id": f"b{n}", "text": texts[n % 40], "doc_id": f"d{n // 2}", "position": n % 2} for n in range(40)]
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for seed in range(4):
        corpus, start = Format.named(str(file)), Origin.named(str(model))
        made = Pretrain(corpus, start, Objective.named("cotmae"), tmp_path / "out", 32, seed=seed).prepare()
        assert len(made.material.held_out) == 0 and len(made.material.learnt) == 40


def test_what_collapses_and_what_overfits_is_said(pretrain: Callable[..., Path]) -> None:
    wild = replace(TRAINING, learning_rate=1.0, schedule="constant", warmup_share=0.0, clip=1e9)
    with pytest.warns(UserWarning, match="has risen twice in a row|have collapsed"):
        pretrain(monitors=ALL[:3], watching=Watching(looks=12), training=wild)


def test_retaining_keeps_embeddings_closer(pretrain: Callable[..., Path], model: Path) -> None:
    texts = [list(range(5, 15)), list(range(20, 40, 2))]

    def moved(folder: Path) -> float:
        before, after = (toys_embeddings(place, texts) for place in (model, folder))
        return float((1 - torch.nn.functional.cosine_similarity(before, after)).mean())

    free, kept = pretrain("free", monitors=()), pretrain("kept", retain=20.0, monitors=())
    assert moved(kept) < 0.5 * moved(free)
    lines = (kept / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert "distance" in json.loads(lines[0])
    assert load_file(kept / "decoders.safetensors").keys() == load_file(free / "decoders.safetensors").keys()


def toys_embeddings(folder: Path, texts: list[list[int]]) -> torch.Tensor:
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return torch.stack([encoder(torch.tensor([ids])).last_hidden_state[0, 0] for ids in texts])


def test_new_words_become_tokens_of_the_model(pretrain: Callable[..., Path], model: Path) -> None:
    from encloze.models.checkpoint import load_tokenizer

    folder = pretrain(new_words=3, monitors=())
    before, after = load_tokenizer(model), load_tokenizer(folder)
    assert before.size < after.size <= before.size + 3
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == after.size
