"""Computation of a job by several processes that run the same command and share the folder of the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from encloze import progress
from encloze.errors import RecipeError
from encloze.execution.executors.base import Executor, Failures, unfinished_shards
from encloze.execution.jobs import Job
from encloze.execution.leases import EXPIRY, Leases

T = TypeVar("T")
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class PeerExecutor(Executor):
    """Base class of executors for processes that a launcher has started, each of which runs the same command.

    Each process takes shards that no other one computes (see ``Leases``) until all are computed. Then the first process
    reads them and writes the output of the command, and the others end: ``run`` yields nothing in them.
    """

    is_launched = True
    variables: ClassVar[tuple[str, str]]
    """Environment variables with the number of this process, and the number of processes."""
    first_variable: ClassVar[str | None] = None
    """Environment variable with the number of the first process; None if it is 0."""
    launcher: ClassVar[str]
    """How the processes are started, for messages."""

    def __post_init__(self) -> None:
        if missing := [name for name in self.variables if not os.environ.get(name, "").isdecimal()]:
            raise ValueError(
                f"the environment variable {missing[0]} is not set. Start the command with {self.launcher}"
            )

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        first = int(os.environ.get(self.first_variable, "0")) if self.first_variable else 0
        return int(os.environ[self.variables[0]]) - first

    @property
    def writes_output(self) -> bool:
        """Whether this process is the first one."""
        return self.rank == 0

    def run(self, job: Job[T]) -> Iterator[T]:
        ledger, count = job.ledger, len(job.sizes)
        if ledger is None:
            message = "the processes exchange results through the cache: set ENCLOZE_ENCODINGS above 0"
            raise RecipeError("the execution", [("type", message)])
        pending, failures, leases = unfinished_shards(job), Failures(job, self.attempts), Leases(ledger.folder)
        begin = self.rank * count // max(1, int(os.environ[self.variables[1]]))
        order = [shard for shard in (*range(begin, count), *range(begin)) if shard in set(pending)]
        while order:
            computed = len(order)
            for shard in list(order):
                if ledger.has(shard):
                    order.remove(shard)
                    continue
                with leases.hold(shard) as is_held:
                    if not is_held:
                        continue
                    try:
                        (result,) = job.process([shard])
                        ledger.store(shard, result)
                    except Exception as error:  # of the model, the tokenizer, the device
                        if failures.add(shard, error):
                            continue
                    order.remove(shard)
            if len(order) == computed:
                progress.note(f"Waiting for {len(order)} shards that other processes compute")
                self._wait(order, job)
        failures.check()
        if self.writes_output:
            yield from map(ledger.load, range(count))

    def _wait(self, shards: list[int], job: Job[T]) -> None:
        """Wait until one of some shards is computed, or a lease has had the time to expire."""
        assert job.ledger is not None
        end = time.monotonic() + EXPIRY
        while time.monotonic() < end and not any(map(job.ledger.has, shards)):
            time.sleep(_POLL_SECONDS)
