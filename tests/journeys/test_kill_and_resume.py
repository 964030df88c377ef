"""A pre-training killed with signal 9 and resumed ends with the weights of one that was never disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file


def command(dataset: Path, model: Path, output: Path, *more: str) -> list[str]:
    settings = {
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
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "encloze", "pretrain", *flags, *more]


def test_a_killed_run_ends_as_if_it_had_not_been(dataset: Path, model: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(dataset, model, whole), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(command(dataset, model, killed), env=environment, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed.unfinished" / "checkpoint" / "manifest.json"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not killed.exists()
    again = subprocess.run(
        command(dataset, model, killed), env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2 and "Go on with --resume" in again.stderr
    done = subprocess.run(
        command(dataset, model, killed, "--resume"), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Going on from step" in done.stderr
    for name in ("model.safetensors", "decoders.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
        assert load_file(whole / name)
    assert not (tmp_path / "killed.unfinished").exists()
    for name in ("encloze.json", "tokenizer.json", "config.json", "inputs.json", "versions.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
