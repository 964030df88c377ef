"""A pre-training killed with signal 9 and resumed ends with the weights of one that was never disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from encloze.cli.main import main


def settings(dataset: Path, model: Path, output: Path, *more: str) -> list[str]:
    given = {
        "corpus": dataset,
        "model": model,
        "objective": "retromae",
        "output": output,
        "batch_tokens": 256,
        "training.steps": 60,
        "training.save_every": 5,
        "training.log_every": 5,
        "training.precision": "float32",
    }
    return ["pretrain", *(part for name, value in given.items() for part in (f"--{name}", str(value))), *more]


def test_a_killed_run_ends_as_if_it_had_not_been(
    dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is killed is a process of its own; the others run here, with one thread as well: that saves their starts."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(settings(dataset, model, whole)) == 0
    command = [sys.executable, "-m", "encloze", *settings(dataset, model, killed)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed.unfinished" / "checkpoint" / "manifest.json"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not killed.exists()
    capsys.readouterr()
    assert main(settings(dataset, model, killed)) == 2 and "Go on with --resume" in capsys.readouterr().err
    assert main(settings(dataset, model, killed, "--resume")) == 0
    assert "Going on from step" in capsys.readouterr().err
    for name in ("model.safetensors", "decoders.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
        assert load_file(whole / name)
    assert not (tmp_path / "killed.unfinished").exists()
    for name in ("encloze.json", "tokenizer.json", "config.json", "inputs.json", "versions.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
