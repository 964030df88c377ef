"""Two runs with one output, and runs that are killed at any moment."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_server import CommandServer

import toys
from encloze.storage.manifest import check_manifest
from encloze.storage.output_lock import remove_leftovers

RACES = int(os.environ.get("ENCLOZE_TEST_RACES", "50"))
KILLS = int(os.environ.get("ENCLOZE_TEST_KILLS", "12"))
"""Tries for each command in the slow tests. For 1,000 kills in all, set ENCLOZE_TEST_KILLS=167."""

TRAINING = {
    "training.steps": 8,
    "training.save_steps": 2,
    "training.logging_steps": 2,
    "training.precision": "float32",
}


@pytest.fixture(scope="module")
def server() -> Iterator[CommandServer]:
    with CommandServer() as started:
        yield started


def command_line(command: str, dataset: Path, model: Path, output: Path) -> list[str]:
    """Return a short command line."""
    pretraining = {"corpus": dataset, "model": model, "objective": "retromae", "batch_tokens": 256, **TRAINING}
    finetuning = {"dataset": dataset, "model": model, "batch_size": 4, "evaluate_on": "null", **TRAINING}
    settings: dict[str, object] = {
        "index": {"dataset": dataset, "indexes": "bm25"},
        "mine": {"dataset": dataset, "sources": "bm25"},
        "evaluate": {"dataset": dataset, "systems": "bm25"},
        "compare": {"dataset": dataset, "systems": f"bm25,{dataset / 'run.trec'}"},
        "inspect": {"corpus": dataset, "sample_size": 0},
        "robustness": {"dataset": dataset, "systems": "bm25"},
        "score": {"dataset": dataset, "model": model, "candidates": dataset / "run.trec"},
        "pretrain": pretraining,
        "finetune": finetuning,
        "finetune_reranker": {
            "dataset": dataset,
            "model": model,
            "negatives": dataset / "run.trec",
            "batch_size": 2,
            **TRAINING,
            "negatives_per_query": 1,
        },
        "finetune_classifier": {"dataset": dataset / "labels", "model": model, "batch_size": 4, **TRAINING},
        "probe": {"dataset": dataset / "labels", "model": model, "penalties": "1.0"},
        "merge": {"model": dataset / "other_model", "original": model},
        "calibrate": {"dataset": dataset, "model": dataset / "reranker", "scores": dataset / "scores", "folds": 2},
        "generate": {
            "corpus": dataset,
            "generator": dataset / "generator",
            "generator.max_new_tokens": 6,
            "queries_per_document": 1,
            "dev_ratio": 0.2,
        },
        "report": {},
        "run": {},
    }[command]
    assert isinstance(settings, dict)
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    argument = {"run": dataset / "pipeline.yaml", "report": dataset / "evaluated"}.get(command)
    return [command, *([str(argument)] if argument else []), *flags, "--output", str(output)]


@pytest.fixture
def inputs(dataset: Path, model: Path) -> tuple[Path, Path]:
    """A data set with a pipeline and a run file in its folder, and a model."""
    stages = {
        "negatives": {"verb": "mine", "dataset": "@dataset"},
        "evaluation": {"verb": "evaluate", "dataset": "@dataset", "systems": ["bm25"]},
    }
    pipeline = {"verb": "run", "dataset": str(dataset), "stages": stages, "report": False}
    (dataset / "pipeline.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    names = [str(document["_id"]) for document in toys.documents()]
    lines = (f"q-{name} Q0 {name} 1 2.0 x\nq-{name} Q0 {other} 2 1.0 x\n" for name, other in itertools.pairwise(names))
    (dataset / "run.trec").write_text("".join(lines), encoding="utf-8")
    return dataset, model


def prepare_inputs(command: str, dataset: Path, model: Path, server: CommandServer) -> None:
    """Create what only some commands need, in the folder of the data set."""
    if command in ("finetune_classifier", "probe"):
        toys.write_labelled(dataset / "labels")
    elif command == "merge":
        server.prepare(command_line("finetune", dataset, model, dataset / "other_model"))
    elif command == "generate":
        toys.write_writer(dataset / "generator")
    elif command == "report":
        server.prepare(command_line("evaluate", dataset, model, dataset / "evaluated"))
    elif command == "calibrate":
        server.prepare(command_line("finetune_reranker", dataset, model, dataset / "reranker"))
        line = command_line("score", dataset, dataset / "reranker", dataset / "scores")
        server.prepare([*line, "--split", "dev", "--include_relevant", "false"])


COMMANDS = (
    *("index", "mine", "evaluate", "compare", "inspect", "robustness", "score", "pretrain", "finetune", "run"),
    *("finetune_reranker", "finetune_classifier", "probe", "merge", "calibrate", "generate", "report"),
)


def check_whole(output: Path) -> None:
    """Assert that an output, or every stage of a pipeline, is complete."""
    folders = [file.parent for file in output.rglob("manifest.json")]
    assert folders, f"{output} has no result"
    for folder in folders:
        check_manifest(folder, contents=True)


def race(command: str, inputs: tuple[Path, Path], folder: Path, server: CommandServer) -> None:
    """Start two runs with one output. One must succeed, the other refuse; the result must be whole."""
    output, logs = folder / "out", [folder.parent / f"{folder.name}-{number}.log" for number in (1, 2)]
    folder.mkdir()
    line = command_line(command, *inputs, output)
    processes = [server.start(line, log) for log in logs]
    codes = [server.wait(process) for process in processes]
    texts = [log.read_text(encoding="utf-8") for log in logs]
    if command == "run" and codes == [0, 0]:  # the second one began after the end of the first, and had nothing to do
        assert any("is already finished" in text for text in texts), texts
    else:
        assert sorted(codes) == [0, 2], (codes, texts)
        refusal = texts[codes.index(2)]
        assert "is being written by another run, process" in refusal or "exists already" in refusal, refusal
    check_whole(output)
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize("command", ["index", "mine"])
def test_of_two_runs_with_one_output_one_succeeds(
    command: str, inputs: tuple[Path, Path], tmp_path: Path, server: CommandServer
) -> None:
    server.prepare(command_line(command, *inputs, tmp_path / "first"))
    for number in range(2):
        race(command, inputs, tmp_path / str(number), server)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_of_many_pairs_of_runs_with_one_output_one_succeeds(
    command: str, inputs: tuple[Path, Path], tmp_path: Path, server: CommandServer
) -> None:
    prepare_inputs(command, *inputs, server)
    server.prepare(command_line(command, *inputs, tmp_path / "first"))
    for number in range(RACES):
        race(command, inputs, tmp_path / str(number), server)


@pytest.mark.slow
def test_of_many_pairs_of_demos_one_is_refused(tmp_path: Path, server: CommandServer) -> None:
    """The demo that goes on is killed: it takes minutes."""
    for number in range(RACES):
        line = ["demo", "--output", str(tmp_path / str(number)), "--size", "minimal"]
        logs = [tmp_path / f"{number}-{which}.log" for which in (1, 2)]
        processes = [server.start(line, log) for log in logs]
        deadline, refused = time.monotonic() + 60, [False, False]
        while not any(refused) and time.monotonic() < deadline:
            time.sleep(0.05)
            refused = [log.exists() and "is being written by another run" in log.read_text() for log in logs]
        for process, was_refused in zip(processes, refused, strict=True):
            if not was_refused:
                os.kill(process, signal.SIGKILL)
        assert sorted(map(server.wait, processes)) == [-signal.SIGKILL, 2]


def results(output: Path) -> dict[str, bytes]:
    """Return the contents of the files that must be equal after every interruption."""
    names = ("model.safetensors", "decoders.safetensors", "run.trec", "index.json")
    suffixes = (".npy", ".arrow", ".trec")
    files = [file for file in output.rglob("*") if file.name in names or file.suffix in suffixes]
    assert files
    return {file.relative_to(output).as_posix(): file.read_bytes() for file in files}


def kill_and_rerun(
    line: list[str], output: Path, seconds: float, expected: dict[str, bytes], server: CommandServer
) -> bool:
    """Kill a run after some seconds and run it again until it has ended. Return whether it could be killed in time."""
    log = output.parent.with_name("killed.log")
    process = server.start(line, log)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    was_killed = server.wait(process) == -signal.SIGKILL
    remove_leftovers(output)
    if output.exists() and line[0] != "run":
        check_whole(output)
    is_unfinished = output.with_name(f"{output.name}.checkpoint").exists()
    is_complete = is_unfinished and output.exists()  # killed before its work folder was removed
    more = ["--resume"] if is_unfinished else []
    if more or line[0] == "run" or "--overwrite" in line or not output.exists():
        code, text = server.run([*line, *more], log), log.read_text(encoding="utf-8")
        assert code == 2 if is_complete else code == 0, text
        assert not is_complete or "is complete, so there is nothing to resume" in text
    check_whole(output)
    assert results(output) == expected
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return was_killed


def kill_often(
    command: str, count: int, overwrite: bool, inputs: tuple[Path, Path], folder: Path, server: CommandServer
) -> int:
    """Kill a command at ``count`` random moments. Return how often it was killed before its end."""
    log, random = folder / "whole.log", np.random.default_rng(0)
    (folder / "whole").mkdir()
    line = command_line(command, *inputs, folder / "whole" / "out")
    server.prepare(line)  # fills the cache, too
    durations, expected = [], results(folder / "whole" / "out")
    for name in ("second", "third", "fourth"):
        began = time.monotonic()
        assert server.run(command_line(command, *inputs, folder / "whole" / name), log) == 0, log.read_text()
        durations.append(time.monotonic() - began)
    killed = 0
    for number in range(count):
        output = folder / str(number) / "out"
        output.parent.mkdir()
        line = command_line(command, *inputs, output)
        if overwrite:
            assert server.run(line, log) == 0
            line.append("--overwrite")
        killed += kill_and_rerun(line, output, random.uniform(0, min(durations)), expected, server)
    return killed


@pytest.mark.parametrize(("command", "overwrite"), [("index", True), ("mine", False)])
def test_a_killed_run_is_repeated_with_the_same_result(
    command: str, overwrite: bool, inputs: tuple[Path, Path], tmp_path: Path, server: CommandServer
) -> None:
    kill_often(command, 2, overwrite, inputs, tmp_path, server)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "overwrite"),
    [("pretrain", False), ("finetune", False), ("mine", False), ("index", False), ("run", False), ("index", True)],
)
def test_many_killed_runs_are_repeated_with_the_same_result(
    command: str, overwrite: bool, inputs: tuple[Path, Path], tmp_path: Path, server: CommandServer
) -> None:
    killed = kill_often(command, KILLS, overwrite, inputs, tmp_path, server)
    print(f"{command}: {killed} of {KILLS} runs were killed before their end")
    assert killed > KILLS // 4
