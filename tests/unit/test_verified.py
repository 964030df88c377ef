"""Checks that run once per version of a file, and the memory of their results."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encloze.errors import CheckpointError
from encloze.storage import verified
from encloze.storage.cached_files import cached_file, cached_folder
from encloze.storage.verified import check_again, check_once

Counter = Callable[[], int]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file whose last change is long enough ago to be remembered."""
    path = tmp_path / "array.npy"
    path.write_bytes(b"0123")
    return path


@pytest.fixture(autouse=True)
def _no_clock_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember checks of files that were changed just now; their times differ enough in these tests."""
    monkeypatch.setattr(verified, "_CLOCK_TICK", -1.0)


class Check:
    """A check that counts how often it runs, and raises an error if it is set to fail."""

    def __init__(self, fails: bool = False) -> None:
        self.runs, self.fails = 0, fails

    def __call__(self) -> None:
        self.runs += 1
        if self.fails:
            raise CheckpointError("damaged")


def test_a_check_runs_once_per_version_of_the_files(file: Path) -> None:
    check = Check()
    for _ in range(3):
        check_once("finite", [file], check)
    assert check.runs == 1
    check_once("sorted", [file], check)  # another check
    assert check.runs == 2


@pytest.mark.parametrize("change", ["content", "content, with its time", "inode"])
def test_a_changed_file_is_checked_again(file: Path, change: str) -> None:
    check, before = Check(), file.stat()
    check_once("finite", [file], check)
    time.sleep(0.02)  # more than a tick of the clock of the file system
    if change == "inode":
        file.rename(file.with_suffix(".old"))
    file.write_bytes(b"4567")
    if change != "content":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    check_once("finite", [file], check)
    assert check.runs == 2


def test_a_failed_check_is_not_remembered(file: Path) -> None:
    check = Check(fails=True)
    for _ in range(2):
        with pytest.raises(CheckpointError):
            check_once("finite", [file], check)
    assert check.runs == 2


def test_a_file_that_was_changed_just_now_is_not_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another change within the same tick of the clock would not change its time."""
    monkeypatch.setattr(verified, "_CLOCK_TICK", 60.0)
    check = Check()
    check_once("finite", [file], check)
    check_once("finite", [file], check)
    assert check.runs == 2


def test_every_check_runs_again_on_demand(file: Path) -> None:
    check = Check()
    check_once("finite", [file], check)
    with check_again():
        check_once("finite", [file], check)
    check_once("finite", [file], check)
    assert check.runs == 2


@pytest.mark.parametrize("damage", [b"", b"\0" * 1000, b"\xff" * 10, b"x" * 10**6])
def test_a_damaged_memory_is_ignored_and_rebuilt(file: Path, cache: Path, damage: bytes) -> None:
    check = Check()
    check_once("finite", [file], check)
    (cache / "verified.txt").write_bytes(damage)
    for _ in range(2):
        check_once("finite", [file], check)
    assert check.runs == 2


def test_without_a_writable_cache_checks_run_again(file: Path, cache: Path) -> None:
    (cache / "verified.txt").mkdir()
    check = Check()
    for _ in range(2):
        check_once("finite", [file], check)
    assert check.runs == 2


def test_the_memory_is_bounded_and_keeps_the_newest(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "_MAX_BYTES", 100 * 34)
    check = Check()
    for number in range(250):
        check_once(f"check {number}", [file], check)
    assert (cache / "verified.txt").stat().st_size <= 101 * 34
    check_once("check 249", [file], check)
    assert check.runs == 250


def test_concurrent_checks_lose_nothing(file: Path) -> None:
    check = Check()

    def run(worker: int) -> None:
        for number in range(50):
            check_once(f"check {worker} {number}", [file], lambda: None)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in range(4):
        for number in range(50):
            check_once(f"check {worker} {number}", [file], check)
    assert check.runs == 0


# Files in the cache


def test_a_damaged_file_in_the_cache_is_written_again_with_a_note(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, texts = cache / "texts" / "a.txt", iter(["first", "second"])

    def read() -> str:
        return cached_file(file, lambda path: path.write_text(next(texts))).read_text()

    assert read() == read() == "first"
    time.sleep(0.02)
    file.write_text("fisrt")
    with caplog.at_level("INFO", "encloze"):
        assert read() == "second"
    assert f"{file} in the cache is damaged" in caplog.text
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.txt", "a.txt.xxh3_128"]


def test_a_damaged_folder_in_the_cache_is_written_again(cache: Path) -> None:
    folder, texts = cache / "tokens" / "key", iter(["first", "second"])

    def read() -> str:
        return (cached_folder(folder, lambda path: (path / "ids").write_text(next(texts))) / "ids").read_text()

    assert read() == read() == "first"
    time.sleep(0.02)
    (folder / "ids").write_text("fisrt")
    assert read() == "second"
    (folder / "manifest.json").unlink()
    texts = iter(["third"])
    assert read() == "third"


def test_a_failed_write_leaves_nothing_in_the_cache(cache: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_file(cache / "texts" / "a.txt", write)
    assert not list((cache / "texts").iterdir())
