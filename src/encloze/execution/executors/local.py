"""The local executor, which computes all shards of a job sequentially in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from encloze.execution.executors.base import Executor, Failures, unfinished_shards
from encloze.execution.jobs import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Local(Executor, name="local"):
    """Executor that computes all shards of a job sequentially in this process."""

    def run(self, job: Job[T]) -> Iterator[T]:
        ledger, failures = job.ledger, Failures(job, self.attempts)
        pending = unfinished_shards(job)
        computed, waiting = job.process(pending), set(pending)
        for shard in range(len(job.sizes)):
            if shard not in waiting:
                if ledger and not failures.given_up:
                    yield ledger.load(shard)
                continue
            while True:
                try:
                    result = next(computed)
                    break
                except Exception as error:  # of the model, the tokenizer, the device
                    left = shard if failures.add(shard, error) else shard + 1
                    computed = job.process([other for other in pending if other >= left])
                    if left > shard:
                        break
            if shard in failures.given_up:
                continue
            if ledger:
                ledger.store(shard, result)
            if not failures.given_up:
                yield result
        deque(computed, maxlen=0)  # what follows the last result, such as warnings
        failures.check()
