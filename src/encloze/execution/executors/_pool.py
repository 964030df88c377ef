"""Computation of a job by a pool of workers, to which this process sends one shard at a time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from encloze import progress
from encloze.errors import ExecutionError
from encloze.execution.executors._worker import Outcome
from encloze.execution.executors.base import Executor, Failures, unfinished_shards
from encloze.execution.jobs import Computation, Job
from encloze.settings import PositiveInt

T = TypeVar("T")
_WINDOW = 2
"""Results per worker that are held in memory until those of earlier shards are there, if none are stored."""


class Pool(Protocol):
    """Workers that compute shards in other processes. A worker computes one shard at a time."""

    def start(self, worker: int) -> None:
        """Start a worker, or start it again after it has died. It loads the computation."""
        ...

    def send(self, worker: int, item: Any) -> None:
        """Send the input of a shard to a worker that computes none. If it is dead, ``receive`` says so."""
        ...

    def receive(self) -> tuple[int, Outcome]:
        """Wait until a worker has finished or failed its shard, or has died. Return the worker and what happened."""
        ...


@dataclass(frozen=True)
class PoolExecutor(Executor):
    """Base class of executors with a pool of workers. This process reads the inputs and stores the results."""

    workers: PositiveInt = field(default=2, kw_only=True)
    """Number of processes that compute shards at the same time."""

    def pool(self, computation: Computation[Any]) -> AbstractContextManager[Pool]:
        """Return a context manager that yields a pool of workers, none of which is started, and stops them at its end.

        Args:
            computation: What the workers compute.
        """
        raise NotImplementedError(type(self).__name__)

    def run(self, job: Job[T]) -> Iterator[T]:
        pending, ledger = unfinished_shards(job), job.ledger
        position, held = 0, dict[int, T]()
        if pending:
            with self.pool(job.computation()) as pool:
                state = _PoolRun(job, pool, pending, min(self.workers, len(pending)), self.attempts)
                for shard, result in state.results():
                    if ledger:
                        ledger.store(shard, result)
                    else:
                        held[shard] = result
                    while position < len(job.sizes) and state.is_done(position):
                        yield ledger.load(position) if ledger else held.pop(position)
                        position += 1
                        state.position = position
        for shard in range(position, len(job.sizes)):
            assert ledger is not None  # without one, all results were yielded
            yield ledger.load(shard)


class _PoolRun:
    """The state of a job that a pool of workers computes.

    Attributes:
        position: The first shard whose result has not been yielded.
    """

    def __init__(self, job: Job[Any], pool: Pool, pending: list[int], workers: int, attempts: int) -> None:
        self._job, self._pool, self._pending = job, pool, deque(pending)
        self._failures, self._unfinished, self.position = Failures(job, attempts), set(pending), 0
        self._workers, self._started, self._shard_of = range(workers), set[int](), dict[int, int]()
        self._deaths_left = attempts * workers
        self._warned = set[str]()

    def is_done(self, shard: int) -> bool:
        """Return whether the result of a shard can be yielded, and no earlier one has failed."""
        return shard not in self._unfinished and not self._failures.given_up

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield the number and the result of each shard, in the order in which they are computed."""
        sizes = self._job.sizes
        total, left = sum(sizes), sum(sizes[shard] for shard in self._pending)
        with progress.task(self._job.title, total, self._job.unit, total - left) as bar:
            while self._unfinished:
                self._send()
                worker, outcome = self._pool.receive()
                shard = self._shard_of.pop(worker, None)
                self._warn(outcome)
                if outcome.has_died:
                    self._started.discard(worker)
                if shard is None:  # it died without a shard
                    continue
                if outcome.error is not None:
                    self._fail(shard, outcome)
                    continue
                self._deaths_left = 10**9  # workers can work, so shards are to blame from now on
                self._unfinished.remove(shard)
                bar.advance(sizes[shard])
                yield shard, outcome.result
        self._failures.check()

    def _send(self) -> None:
        """Give a shard to each worker that has none."""
        limit = len(self._job.sizes) if self._job.ledger else self.position + _WINDOW * len(self._workers)
        for worker in self._workers:
            if worker in self._shard_of or not self._pending or self._pending[0] >= limit:
                continue
            if worker not in self._started:
                self._pool.start(worker)
                self._started.add(worker)
            self._shard_of[worker] = shard = self._pending.popleft()
            self._pool.send(worker, self._job.input(shard))

    def _fail(self, shard: int, outcome: Outcome) -> None:
        assert outcome.error is not None  # the caller checks
        self._deaths_left -= outcome.has_died
        if not self._deaths_left:
            raise ExecutionError(f"{self._job.title}: all workers die: {outcome.error}")
        if self._failures.add(shard, outcome.error):
            self._pending.appendleft(shard)
        else:
            self._unfinished.remove(shard)

    def _warn(self, outcome: Outcome) -> None:
        """Show the warnings of a worker, but not those that differ only in numbers from earlier ones."""
        for text in outcome.warnings:
            if (words := re.sub(r"[\d.,]+", "", text)) not in self._warned:
                self._warned.add(words)
                progress.warn(text)
