"""Tests that several processes and micro-batches give the loss and gradients of one batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes

import toys


def run_two_processes(dataset: Path, output: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, two_processes.__file__, str(dataset), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
def test_processes_and_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    """Compare one process, two processes, and two processes with four micro-batches, for every objective.

    The one process is this one. The two processes are launched once, since they take most of the time to start.
    """
    dataset, whole = toys.write_dataset(tmp_path / "toys"), tmp_path / "whole"
    for folder in (whole, *(tmp_path / kind for kind in two_processes.KINDS)):
        folder.mkdir()
    run_two_processes(dataset, tmp_path)
    for name in two_processes.CASES:
        metrics = two_processes.steps(name, dataset, whole, 1)["metrics"]
        for kind in two_processes.KINDS:
            of_two = json.loads((tmp_path / kind / "metrics.json").read_text())[name]
            equal(name, (metrics, whole), (of_two, tmp_path / kind))


def equal(name: str, first_run: tuple[Any, Path], second_run: tuple[Any, Path]) -> None:
    """Assert that two launches have the same metrics, gradients and weights for an objective."""
    (whole, whole_folder), (shared, shared_folder) = first_run, second_run
    for first, second in zip(whole, shared, strict=True):
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
