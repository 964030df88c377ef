"""The processes executor, which computes the shards of a job in several processes on this machine."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.execution.executors._pool import Pool, PoolExecutor
from encloze.execution.executors._process_worker import receive_message, send_message
from encloze.execution.executors._worker import Outcome
from encloze.execution.jobs import Computation
from encloze.settings import PositiveInt

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Processes(PoolExecutor, name="processes"):
    """Executor that computes shards in several processes on this machine, each with some of its cores, or a GPU."""

    threads: PositiveInt | None = None
    """Number of threads of each process; by default the cores of the machine are divided among the processes."""

    @contextlib.contextmanager
    def pool(self, computation: Computation[Any]) -> Iterator[Pool]:
        """See the base class."""
        threads = self.threads or max(1, available_cores() // self.workers)
        pool = _ProcessPool(computation, threads)
        try:
            yield pool
        finally:
            pool.stop()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_of(worker: int) -> dict[str, str]:
    """Return the environment variable that shows a worker only one of the GPUs of this machine; none without GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    names = gpus if visible is None else [name for name in visible.split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": names[worker % len(names)]} if names else {}


class _ProcessPool:
    """Worker processes. A worker reads messages from its standard input, and writes results to its standard output.

    Args:
        computation: What they compute.
        threads: Number of threads of each process.
    """

    def __init__(self, computation: Computation[Any], threads: int) -> None:
        self._computation = pickle.dumps(computation)
        self._environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
            "PYTHONPATH": os.pathsep.join(sys.path),  # the computation may be of a module that only this process finds
        }
        self._workers = dict[int, subprocess.Popen[bytes]]()
        self._threads = list[threading.Thread]()
        self._outcomes = queue.SimpleQueue[tuple[int, Outcome]]()

    def start(self, worker: int) -> None:
        if worker in self._workers:
            _close_input(self._workers[worker])
        process = subprocess.Popen(
            [sys.executable, "-m", "encloze.execution.executors._process_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment | gpu_of(worker),
        )
        self._workers[worker] = process
        self._threads.append(threading.Thread(target=self._read, args=(worker, process), daemon=True))
        self._threads[-1].start()
        self._send(worker, self._computation)

    def send(self, worker: int, item: Any) -> None:
        self._send(worker, pickle.dumps(item))

    def receive(self) -> tuple[int, Outcome]:
        return self._outcomes.get()

    def stop(self) -> None:
        """Stop all processes."""
        for process in self._workers.values():
            process.terminate()
        for process in self._workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            process.kill()
            process.wait()
            _close_input(process)
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def _send(self, worker: int, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the process has died, which its outputs will tell
            send_message(self._workers[worker].stdin, message)  # type: ignore[arg-type]

    def _read(self, worker: int, process: subprocess.Popen[bytes]) -> None:
        """Put what a process writes into the queue of outcomes, until it ends."""
        with contextlib.suppress(OSError, ValueError):  # a stream that was closed
            while (message := receive_message(process.stdout)) is not None:  # type: ignore[arg-type]
                self._outcomes.put((worker, _outcome(message)))
        code = process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        cause = f"the signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = " (is the memory too small?)" if code == -signal.SIGKILL else ""
        self._outcomes.put((worker, Outcome(error=f"a worker process ended with {cause}{hint}", has_died=True)))


def _outcome(message: bytes) -> Outcome:
    """Return the outcome that a worker has sent, also if its content cannot be read in this process."""
    try:
        outcome: Outcome = pickle.loads(message)  # from a process that this one has started
    except Exception as error:  # of the classes in it
        return Outcome(error=f"the result of a worker cannot be read: {type(error).__name__}: {error}")
    return outcome


def _close_input(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):  # what a process that has died did not read
        process.stdin.close()  # type: ignore[union-attr]
