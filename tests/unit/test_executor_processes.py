"""Executors with workers in other processes, and several processes that share one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Representation
from encloze.encoders.base import load_encoder
from encloze.errors import CheckpointError, ExecutionError, RecipeError, StaleIndexError
from encloze.execution import encodings
from encloze.execution.encodings import EncodingComputation, encode_corpus
from encloze.execution.executors.base import Executor
from encloze.execution.executors.processes import Processes
from encloze.execution.jobs import Job
from encloze.execution.leases import Leases
from encloze.execution.ledger import Ledger


class Worked(NamedTuple):
    """Result of a shard: its number squared, and the process that computed it."""

    square: int
    process: int


class Squaring(NamedTuple):
    """Computation of ``Squares``. A shard of ``deadly`` kills its worker, unless its file in ``survivors`` exists."""

    deadly: tuple[int, ...] = ()
    failing: tuple[int, ...] = ()
    survivors: str = ""
    cannot_load: str = ""

    def load(self) -> Callable[[int], Worked]:
        if self.cannot_load == "model":
            raise CheckpointError("the model is damaged")
        if self.cannot_load:
            raise ImportError("no such library")

        def square(number: int) -> Worked:
            if number in self.failing:
                progress.warn(f"{number} is too large")
                raise ValueError(f"cannot square {number}")
            if number in self.deadly:
                mark = Path(self.survivors or "/nonexistent", str(number))
                if not (self.survivors and mark.exists()):
                    if self.survivors:
                        mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            print("what libraries print does not get between the results")
            return Worked(number * number, os.getpid())

        return square


class Squares(Job[Worked]):
    """The square of the number of each shard, computed in other processes."""

    title, unit = "Squaring", "numbers"

    def __init__(self, count: int, folder: Path | None = None, **settings: Any) -> None:
        self.sizes, self._computation = [1] * count, Squaring(**settings)
        if folder:
            self.ledger = Ledger(folder, ".txt", write, read, "numbers")

    def process(self, shards: Sequence[int]) -> Iterator[Worked]:
        raise AssertionError("this process computes nothing")

    def computation(self) -> Squaring:
        return self._computation

    def input(self, shard: int) -> int:
        return shard


def write(result: Worked, path: Path) -> None:
    path.write_text(f"{result.square} {result.process}")


def read(path: Path) -> Worked:
    return Worked(*map(int, path.read_text().split()))


def squares(results: Iterator[Worked]) -> list[int]:
    return [result.square for result in results]


@pytest.mark.parametrize("is_stored", [True, False])
def test_workers_compute_the_shards_and_results_come_in_their_order(is_stored: bool, tmp_path: Path) -> None:
    results = list(Processes(workers=2).run(Squares(12, tmp_path if is_stored else None)))
    assert [result.square for result in results] == [number**2 for number in range(12)]
    processes = {result.process for result in results}
    assert os.getpid() not in processes and len(processes) <= 2
    if is_stored:
        assert list(Processes(workers=2).run(Squares(12, tmp_path, cannot_load="all"))) == results  # nothing is loaded


def test_a_worker_that_dies_is_started_again_and_only_its_shard_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    job = Squares(6, tmp_path / "ledger", deadly=(1, 4), survivors=str(tmp_path / "marks"))
    assert squares(Processes(workers=2).run(job)) == [0, 1, 4, 9, 16, 25]
    assert sorted(path.name for path in (tmp_path / "marks").iterdir()) == ["1", "4"]


def test_a_shard_that_always_fails_is_reported_and_all_others_are_stored(tmp_path: Path) -> None:
    job = Squares(6, tmp_path, failing=(1,), deadly=(4,))
    warning = pytest.warns(UserWarning, match="1 is too large")
    message = (
        r"Squaring: 2 of 6 shards failed in 2 attempts. The others are stored: repeat the command.*\n"
        r"  numbers 2 to 2: ValueError: cannot square 1\n"
        r"  numbers 5 to 5: a worker process ended with the signal SIGKILL \(is the memory too small\?\)"
    )
    with warning as shown, pytest.raises(ExecutionError, match=message):
        list(Processes(workers=2, attempts=2).run(job))
    assert len(shown) == 1  # not once for each attempt
    assert sorted(path.stem for path in tmp_path.glob("*.txt")) == ["000000", "000002", "000003", "000005"]


@pytest.mark.parametrize(
    ("cause", "error", "message"),
    [
        ("model", CheckpointError, "the model is damaged"),
        ("library", ExecutionError, "a worker cannot start: ImportError: no such library"),
    ],
)
def test_what_no_worker_can_load_ends_the_job(cause: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        list(Processes(workers=2).run(Squares(50, tmp_path, cannot_load=cause)))


class Unreadable:
    """A result that cannot be sent: it raises an error when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("nonsense",))


class Unsendable:
    """Computation with such results."""

    def load(self) -> Callable[[int], Any]:
        return lambda number: Unreadable()


def test_a_result_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Squares(1)
    monkeypatch.setattr(job, "computation", Unsendable)
    with pytest.raises(ExecutionError, match="numbers 1 to 1: the result of a worker cannot be read: ValueError"):
        list(Processes(workers=1, attempts=1).run(job))


def test_workers_end_when_the_results_are_not_read_to_the_end(tmp_path: Path) -> None:
    results = Processes(workers=2).run(Squares(40))
    process = next(results).process
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def small_corpus(folder: Path) -> Corpus:
    documents = [Document(str(number), "", f"text {number} " * (number % 9 + 1)) for number in range(40)]
    return Corpus.from_documents(documents, folder / "corpus.arrow")


def dense(parts: Iterator[Representation]) -> bytes:
    return np.concatenate([part.dense for part in parts if part.dense is not None]).tobytes()


def test_workers_encode_a_corpus_to_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, encoder = small_corpus(tmp_path), load_encoder(str(model))
    monkeypatch.setattr(encodings, "SHARD_SIZE", 16)
    monkeypatch.setenv("ENCLOZE_ENCODINGS", "0")
    by_workers = dense(encode_corpus(encoder, corpus, Processes(workers=2)))
    expected = [encoder.represent_documents(corpus.texts(range(b, min(b + 16, 40))), 16) for b in (0, 16, 32)]
    assert by_workers == dense(part for parts in expected for part in parts)


def test_a_worker_refuses_another_model(model: Path) -> None:
    encoder = load_encoder(str(model))
    right = EncodingComputation.of(encoder)
    assert right.load()(["one", "two"]).num_texts == 2
    for wrong in (
        EncodingComputation(right.encoder, "another", right.arithmetic),
        EncodingComputation(right.encoder, right.fingerprint, "bfloat16 on cpu (another library)"),
    ):
        with pytest.raises(StaleIndexError, match="a worker loaded another model .* Give all machines the same model"):
            wrong.load()


def test_a_model_in_memory_cannot_be_sent(model: Path, tmp_path: Path) -> None:
    encoder = load_encoder(str(model))
    encoder.model.fingerprint = ""  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="the model is only in memory, so other processes cannot load it"):
        list(encode_corpus(encoder, small_corpus(tmp_path), Processes()))


class LocalSquares(Squares):
    """The same job, computed by the process that calls it, which takes a while."""

    def process(self, shards: Sequence[int]) -> Iterator[Worked]:
        for shard in shards:
            time.sleep(0.1)
            yield Worked(shard * shard, os.getpid())


def compute_share(name: str, folder: str) -> None:
    """Compute shards of a job in a process that a launcher has started, and print the results that it gets."""
    for result in Executor.member(name)().run(LocalSquares(20, Path(folder))):  # type: ignore[attr-defined]
        print(*result)


@pytest.mark.parametrize("name", ["slurm", "torchrun"])
def test_processes_of_a_launcher_share_the_shards(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number, count = ("RANK", "WORLD_SIZE") if name == "torchrun" else ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    monkeypatch.setenv(count, "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    code = f"import test_executor_processes as tests; tests.compute_share({name!r}, {str(tmp_path)!r})"
    processes = []
    for rank in ("1", "0"):
        monkeypatch.setenv(number, rank)
        processes.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    other, first = (process.communicate()[0] for process in processes)
    assert other == ""  # only the first process gets the results
    results = [Worked(*map(int, line.split())) for line in first.splitlines()]
    assert [result.square for result in results] == [shard**2 for shard in range(20)]
    assert {result.process for result in results} == {process.pid for process in processes}  # each has computed some
    assert not list(tmp_path.glob("*.lease"))


@pytest.mark.parametrize(("name", "variable"), [("slurm", "SLURM_ARRAY_TASK_ID"), ("torchrun", "RANK")])
def test_without_a_launcher_the_command_says_how_to_start_it(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f"the environment variable {variable} is not set. Start the command with"):
        Executor.member(name)()


def test_processes_of_a_launcher_need_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0"), monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RecipeError, match="the processes exchange results through the cache: set ENCLOZE_ENCODINGS"):
        list(Executor.member("torchrun")().run(Squares(2)))


def test_a_lease_is_held_by_one_process_and_expires(tmp_path: Path) -> None:
    first, second = Leases(tmp_path, expiry=0.6), Leases(tmp_path, expiry=0.6)
    with first.hold(3) as is_held, second.hold(3) as is_held_twice:
        assert (is_held, is_held_twice) == (True, False)
        time.sleep(1.0)  # longer than the expiry: the holder touches it
        with second.hold(3) as is_held_twice, second.hold(4) as is_other_held:
            assert (is_held_twice, is_other_held) == (False, True)
    assert not list(tmp_path.iterdir())
    lease = tmp_path / "000003.lease"
    lease.write_text("a process that was killed")
    with second.hold(3) as is_held:
        assert not is_held
    os.utime(lease, (time.time() - 5,) * 2)
    with second.hold(3) as is_held:
        assert is_held
    assert not list(tmp_path.iterdir())


def test_the_worker_module_ends_without_input() -> None:
    command = [sys.executable, "-m", "encloze.execution.executors._process_worker"]
    assert subprocess.run(command, input=b"", capture_output=True, check=True).stdout == b""
