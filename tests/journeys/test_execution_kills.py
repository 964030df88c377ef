"""Encoding by several processes or by Ray, killed again and again, gives the same bytes, and repeats no finished shard.

The environment variable ENCLOZE_TEST_EXECUTION_KILLS is the number of kills for each executor.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import toys

KILLS = int(os.environ.get("ENCLOZE_TEST_EXECUTION_KILLS", "6"))
NUM_DOCUMENTS = 6 * 4096 - 100
pytestmark = pytest.mark.slow


def descendants(process: int) -> list[tuple[int, str]]:
    """Return the ids and command lines of all processes that a process has started."""
    found = list[tuple[int, str]]()
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            command = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            found += [(int(child), command), *descendants(int(child))]
    return found


def victims(driver: int, kind: str) -> list[int]:
    """Return the processes of a kind: the driver, its workers, or the node process of Ray."""
    if kind == "driver":
        return [driver]
    marks = {"worker": ("_process_worker", "ray::Worker"), "node": ("raylet/raylet ", "raylet --")}[kind]
    return [process for process, command in descendants(driver) if any(mark in command for mark in marks)]


@pytest.mark.parametrize(
    ("name", "kinds"), [("processes", ("worker", "driver")), ("ray", ("worker", "driver", "node"))]
)
def test_killed_encoding_resumes_to_the_same_bytes(
    name: str, kinds: tuple[str, ...], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    with (tmp_path / "texts" / "corpus.jsonl").open("w") as stream:
        for number in range(NUM_DOCUMENTS):
            text = " ".join(toys.texts()[number % 40].split()[: number % 9 + 1])
            stream.write(json.dumps({"_id": str(number), "title": "", "text": f"{number} {text}"}) + "\n")
    command = [sys.executable, "-m", "encloze", "encode", "--corpus", str(tmp_path / "texts"), "--model", str(model)]
    command += ["--format", "npy"]
    monkeypatch.setenv("ENCLOZE_CACHE", str(tmp_path / "cache of local"))
    began = time.monotonic()
    subprocess.run([*command, "--output", str(tmp_path / "local")], check=True, capture_output=True)
    duration = time.monotonic() - began
    monkeypatch.setenv("ENCLOZE_CACHE", str(tmp_path / "cache"))
    chance, seen, kills, rounds = random.Random(name), dict[Path, int](), 0, 0
    while kills < KILLS:
        rounds += 1
        output = tmp_path / f"round {rounds}"
        command_of_round = [*command, "--output", str(output), "--execution", name]
        driver = subprocess.Popen(command_of_round, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end, kind = time.monotonic() + chance.uniform(0.2, 1.0) * duration, chance.choice(kinds)
        while driver.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            remember(tmp_path / "cache", seen)
        if driver.poll() is None and (found := victims(driver.pid, kind)):
            os.kill(chance.choice(found), signal.SIGKILL)
            kills += 1
        if kind == "worker":  # another one takes its shard
            assert driver.wait(600) == 0, driver.communicate()[1]
        driver.wait(600)
        assert driver.stderr is not None
        driver.stderr.close()
        remember(tmp_path / "cache", seen)
        if output.is_dir():
            assert (output / "dense.npy").read_bytes() == (tmp_path / "local" / "dense.npy").read_bytes()
            for file in shards(tmp_path / "cache")[kills % 2 :: 2]:  # the next rounds compute half of them again
                file.unlink()
                seen.pop(file, None)
    subprocess.run([*command, "--output", str(tmp_path / "last"), "--execution", name], check=True, capture_output=True)
    assert (tmp_path / "last" / "dense.npy").read_bytes() == (tmp_path / "local" / "dense.npy").read_bytes()


def shards(cache: Path) -> list[Path]:
    return sorted(cache.glob("encodings/*/*.npz"))


def remember(cache: Path, seen: dict[Path, int]) -> None:
    """Check that no finished shard was written again, and remember those that are finished."""
    for file in shards(cache):
        inode = file.stat().st_ino
        assert seen.setdefault(file, inode) == inode, f"{file} was computed twice"
