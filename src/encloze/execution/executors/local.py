"""The local executor, which computes all shards of a job sequentially in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from encloze.execution.executors.base import Executor
from encloze.execution.jobs import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Local(Executor, name="local"):
    """Executor that computes all shards of a job sequentially in this process."""

    def run(self, job: Job[T]) -> Iterator[T]:
        ledger = job.ledger
        if ledger is None:
            yield from job.process(range(len(job.sizes)))
            return
        pending = [shard for shard in range(len(job.sizes)) if not ledger.has(shard)]
        if len(pending) < len(job.sizes):
            job.on_resume(len(job.sizes) - len(pending))
        computed, waiting = job.process(pending), set(pending)
        for shard in range(len(job.sizes)):
            if shard not in waiting:
                yield ledger.load(shard)
                continue
            result = next(computed)
            ledger.store(shard, result)
            yield result
