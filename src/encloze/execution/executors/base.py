"""Interface of executors, which compute the shards of a job in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from encloze.execution.jobs import Job
from encloze.family import Family

T = TypeVar("T")


@dataclass(frozen=True)
class Executor(Family):
    """Base class of executors. An executor computes the shards of a job, except those with results in the ledger."""

    def run(self, job: Job[T]) -> Iterator[T]:
        """Return the results of a job, computed or read from its ledger.

        Args:
            job: The job. If it has a ledger, finished shards are read from there, and each new result is stored as
                soon as it is computed: an interruption loses one shard at most.

        Yields:
            The result of each shard, in the order of the shards.
        """
        raise NotImplementedError(type(self).__name__)
