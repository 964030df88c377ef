"""Two processes with gloo, and accumulated parts, give the loss and gradients of one whole batch."""

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


def run(dataset: Path, output: Path, *, processes: int, accumulation: int) -> dict[str, list[dict[str, float]]]:
    output.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, str(SCRIPT), str(dataset), str(output), str(accumulation)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, list[dict[str, float]]] = json.loads((output / "figures.json").read_text())
    return found


def test_two_processes_and_parts_equal_one_batch(tmp_path: Path) -> None:
    """One process; two processes; two processes with four parts each: every objective in one launch.

    One test, since tests that share a launch would each have it where they run side by side.
    """
    dataset = toys.write_dataset(tmp_path / "toys")
    kinds = {"whole": (1, 1), "two": (2, 1), "parts": (2, 4)}
    runs = {
        kind: (run(dataset, tmp_path / kind, processes=processes, accumulation=parts), tmp_path / kind)
        for kind, (processes, parts) in kinds.items()
    }
    for name in (*Objective.members(), "finetune"):
        for kind in ("two", "parts"):
            equal(name, runs["whole"], runs[kind])


def equal(name: str, first_run: tuple[Any, Path], second_run: tuple[Any, Path]) -> None:
    """Whether two launches gave an objective the same figures, gradients and weights."""
    (whole, whole_folder), (shared, shared_folder) = first_run, second_run
    for first, second in zip(whole[name], shared[name], strict=True):
        terms = [term for term in first if term not in ("step", "seconds", "precision")]
        assert len(terms) > 1
        for term in terms:
            assert abs(first[term] - second[term]) < 1e-5, (name, term)
    one, other = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in (whole_folder, shared_folder))
    for part in ("gradients", "weights"):
        assert one[part].keys() == other[part].keys()
        for parameter, value in one[part].items():
            if parameter.endswith("key.bias"):
                continue  # its gradient is 0 but for rounding, which AdamW makes as large as any
            torch.testing.assert_close(value, other[part][parameter], atol=1e-5, rtol=1e-4, msg=f"{name} {parameter}")
