"""Two processes with gloo give the loss and the gradients of one, for the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


def run(processes: int, output: Path) -> tuple[list[dict[str, float]], dict[str, dict[str, torch.Tensor]]]:
    output.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(output)], capture_output=True, text=True, env=environment, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "figures.json").read_text()), torch.load(output / "tensors.pt", weights_only=True)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one, one_tensors = run(1, tmp_path / "one")
    two, two_tensors = run(2, tmp_path / "two")
    for first, second in zip(one, two, strict=True):
        for term in ("encoder", "decoder", "encoder_right", "decoder_right"):
            assert abs(first[term] - second[term]) < 1e-5
    for kind in ("gradients", "weights"):
        assert one_tensors[kind].keys() == two_tensors[kind].keys()
        for name, value in one_tensors[kind].items():
            torch.testing.assert_close(value, two_tensors[kind][name], atol=1e-5, rtol=1e-5)
