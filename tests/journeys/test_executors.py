"""The setting ``execution`` of commands: workers give the same results as one process, and are really used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import encloze
from encloze.execution import encodings
from encloze.execution.executors.processes import Processes
from encloze.storage.cache import cache_folder

WORKERS = {"type": "processes", "workers": 2}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "SHARD_SIZE", 25)


def empty_cache() -> None:
    for file in (cache_folder() / "encodings").rglob("*.npz"):
        file.unlink()


@pytest.mark.slow
def test_encode_index_evaluate_mine_and_score_use_workers(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, original = list[str](), Processes.run

    def counting(self: Processes, job: object) -> object:
        used.append(type(job).__name__)
        return original(self, job)  # type: ignore[arg-type]

    monkeypatch.setattr(Processes, "run", counting)
    common = {"dataset": str(dataset), "split": "test"}
    results = {}
    for name, execution in (("local", "local"), ("workers", WORKERS)):
        empty_cache()
        folder = tmp_path / name
        folder.mkdir()
        encloze.encode(
            model=str(model), corpus=str(dataset), output=folder / "vectors", format="npy", execution=execution
        )
        index = encloze.index(
            corpus=str(dataset),
            model=str(model),
            indexes=["flat", "bm25"],
            output=folder / "index",
            execution=execution,
        )
        assert index.documents == 40
        empty_cache()
        report = encloze.evaluate(**common, systems=["bm25", str(model)], execution=execution)
        empty_cache()
        encloze.mine(
            **common, sources=[str(model)], num_negatives=3, range_max=20, output=folder / "mined", execution=execution
        )
        encloze.score(
            **common, model=str(model), candidates=folder / "mined", output=folder / "scores", execution=execution
        )
        results[name] = (
            (folder / "vectors" / "dense.npy").read_bytes(),
            (folder / "index" / "flat" / "embeddings.npy").read_bytes(),
            [system.run for system in report.systems],
            (folder / "mined" / "run.trec").read_text(),
            (folder / "scores" / "run.trec").read_text(),
        )
    assert results["local"] == results["workers"]
    assert used == ["EncodingJob"] * 4 + ["ScoringJob"]


def test_launched_processes_but_the_first_write_nothing(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in ("1", "0"):
        for name, value in (("ID", rank), ("MIN", "0"), ("COUNT", "2")):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
        encloze.index(corpus=str(dataset), model=str(model), output=tmp_path / "index", execution="slurm")
        vectors = encloze.encode(corpus=str(dataset), model=str(model), output=tmp_path / "vectors", execution="slurm")
        assert vectors.count == 40
        assert (tmp_path / "index").exists() == (tmp_path / "vectors").exists() == (rank == "0")
    retriever = encloze.Retriever.load(tmp_path / "index")
    assert len(retriever) == 40


@pytest.mark.parametrize("command", ["evaluate", "mine", "score"])
def test_commands_that_one_process_runs_refuse_launched_ones(
    command: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0"), monkeypatch.setenv("WORLD_SIZE", "2")
    settings = {"evaluate": {"systems": ["bm25"]}, "mine": {"output": "out"}}.get(
        command, {"model": "minilm", "candidates": os.devnull, "output": "out"}
    )
    with pytest.raises(encloze.EnclozeError, match="execution torchrun is for the commands encode and index"):
        getattr(encloze, command)(dataset=str(dataset), execution="torchrun", **settings)


def test_workers_need_the_cache_for_systems(dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_ENCODINGS", "0")
    with pytest.raises(encloze.EnclozeError, match="set ENCLOZE_ENCODINGS above 0, or use local"):
        encloze.evaluate(dataset=str(dataset), systems=[str(model)], execution="processes")
