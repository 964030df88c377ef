"""Tests that several processes and micro-batches give the loss and gradients of one batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import toys
from encloze.objectives.base import Objective

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(dataset: Path, output: Path, *, processes: int, micro_batches: int) -> dict[str, list[dict[str, float]]]:
    output.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, str(SCRIPT), str(dataset), str(output), str(micro_batches)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics: dict[str, list[dict[str, float]]] = json.loads((output / "metrics.json").read_text())
    return metrics


def test_processes_and_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    """Compare one process, two processes, and two processes with four micro-batches, for every objective.

    This is a single test, because parallel test workers would each launch the processes.
    """
    dataset = toys.write_dataset(tmp_path / "toys")
    kinds = {"whole": (1, 1), "two": (2, 1), "parts": (2, 4)}
    runs = {
        kind: (run(dataset, tmp_path / kind, processes=processes, micro_batches=parts), tmp_path / kind)
        for kind, (processes, parts) in kinds.items()
    }
    for name in (*Objective.members(), "finetune"):
        for kind in ("two", "parts"):
            equal(name, runs["whole"], runs[kind])


def equal(name: str, first_run: tuple[Any, Path], second_run: tuple[Any, Path]) -> None:
    """Assert that two launches have the same metrics, gradients and weights for an objective."""
    (whole, whole_folder), (shared, shared_folder) = first_run, second_run
    for first, second in zip(whole[name], shared[name], strict=True):
        assert len(first) > 1
        for term in first:
            assert abs(first[term] - second[term]) < 1e-5, (name, term)
    one, other = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in (whole_folder, shared_folder))
    for part in ("gradients", "weights"):
        assert one[part].keys() == other[part].keys()
        for parameter, value in one[part].items():
            if parameter.endswith("key.bias"):
                continue  # its gradient is 0 except for rounding errors, which AdamW scales up
            torch.testing.assert_close(value, other[part][parameter], atol=1e-5, rtol=1e-4, msg=f"{name} {parameter}")
