"""Malformed inputs end with an error of encloze: no traceback, crash, hang, or file outside the output that changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
SILENCE_SECONDS = 120
"""Time without a line of the worker after which it counts as hung in native code."""


def faults_of(first: int, last: int, *, with_torch: bool) -> list[str]:
    """Run the cases with these numbers in worker processes; return a line for each that ends otherwise."""
    faults = []
    while first < last:
        entries, code, error = _run_worker(first, last, with_torch=with_torch)
        started = {entry["number"]: entry["arguments"] for entry in entries if "arguments" in entry}
        ended = {entry["number"]: entry["fault"] for entry in entries if "fault" in entry}
        faults += [f"{number} {started[number]}: {fault}" for number, fault in ended.items() if fault]
        if code == 0:
            break
        crashed = [number for number in started if number not in ended]
        assert crashed, f"the worker ended with {code} before a case: {error}"
        faults.append(f"{crashed[0]} {started[crashed[0]]}: ends the process with {code}: {error[-300:]}")
        first = crashed[0] + 1
    return faults


def _run_worker(first: int, last: int, *, with_torch: bool) -> tuple[list[dict[str, Any]], int, str]:
    command = [sys.executable, str(TESTS / "fuzz" / "worker.py"), str(first), str(last), "torch" if with_torch else ""]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    limit = SILENCE_SECONDS + 2 * (last - first)
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return [json.loads(line) for line in output.splitlines() if line.endswith("}")], -1, "it hangs"
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, done.stderr


@pytest.mark.long
def test_malformed_inputs_are_refused() -> None:
    assert not faults_of(0, 200, with_torch=False)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_ten_thousand_malformed_inputs_are_refused(batch: int) -> None:
    first = 10_000 + 500 * batch
    assert not faults_of(first, first + 500, with_torch=True)
