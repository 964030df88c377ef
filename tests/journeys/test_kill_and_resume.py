"""Test that a pre-training killed with SIGKILL and resumed gives the weights of an uninterrupted one."""

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
        "training.save_steps": 5,
        "training.logging_steps": 5,
        "training.precision": "float32",
    }
    return ["pretrain", *(part for name, value in given.items() for part in (f"--{name}", str(value))), *more]


@pytest.mark.long
def test_killed_and_resumed_run_gives_identical_weights(
    dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The killed run is a subprocess; the others run in this process, also with one thread, to save start-up time."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(settings(dataset, model, whole)) == 0
    command = [sys.executable, "-m", "encloze", *settings(dataset, model, killed)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed.checkpoint" / "training_state" / "manifest.json"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert not killed.exists()
    capsys.readouterr()
    assert main(settings(dataset, model, killed)) == 2 and "Resume it with --resume" in capsys.readouterr().err
    assert main(settings(dataset, model, killed, "--resume")) == 0
    assert "Resuming from step" in capsys.readouterr().err
    for name in ("model.safetensors", "decoders.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
        assert load_file(whole / name)
    assert not (tmp_path / "killed.checkpoint").exists()
    for name in ("encloze.json", "tokenizer.json", "config.json", "inputs.json", "versions.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
