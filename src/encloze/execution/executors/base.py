"""Interface of executors, which compute the shards of a job in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from encloze import progress
from encloze.errors import EnclozeError, ExecutionError
from encloze.execution.jobs import Job
from encloze.family import Family
from encloze.settings import PositiveInt

T = TypeVar("T")
_LISTED = 5


@dataclass(frozen=True)
class Executor(Family):
    """Base class of executors. An executor computes the shards of a job, except those with results in the ledger."""

    attempts: PositiveInt = field(default=3, kw_only=True)
    """How often a shard that fails is computed before it is given up. All others are computed nevertheless, and stored,
    so that the command continues with the failed ones when it is repeated."""

    is_launched: ClassVar[bool] = False
    """Whether a launcher has started several processes, all of which run the same command."""

    @property
    def writes_output(self) -> bool:
        """Whether this process writes the output of a command. Of several that compute one job, only one does."""
        return True

    def run(self, job: Job[T]) -> Iterator[T]:
        """Return the results of a job, computed or read from its ledger.

        Args:
            job: The job. If it has a ledger, finished shards are read from there, and each new result is stored as
                soon as it is computed: an interruption loses one shard of each process at most.

        Yields:
            The result of each shard, in the order of the shards.

        Raises:
            ExecutionError: Shards failed in all attempts.
        """
        raise NotImplementedError(type(self).__name__)


def unfinished_shards(job: Job[T]) -> list[int]:
    """Return the shards of a job that have no result in its ledger, after reporting how many have one."""
    ledger, shards = job.ledger, range(len(job.sizes))
    if ledger is None:
        return list(shards)
    pending = [shard for shard in shards if not ledger.has(shard)]
    if len(pending) < len(shards):
        job.on_resume(len(shards) - len(pending))
    return pending


class Failures:
    """The failed attempts to compute shards of a job.

    Args:
        job: The job.
        attempts: How often a shard is attempted.
    """

    def __init__(self, job: Job[T], attempts: int) -> None:
        self._job, self._attempts = job, attempts
        self._causes = dict[int, list[BaseException | str]]()
        self.given_up = set[int]()
        """Shards that failed in all attempts."""

    def add(self, shard: int, cause: BaseException | str) -> bool:
        """Record a failed attempt. Return whether the shard is to be attempted again.

        Raises:
            EnclozeError: The cause is an error that a user can fix, such as a full disk, which would occur again.
            ExecutionError: The shard is given up, and no results are stored that another run could use.
        """
        if isinstance(cause, EnclozeError):
            raise cause
        self._causes.setdefault(shard, []).append(cause)
        if len(self._causes[shard]) < self._attempts:
            progress.note(f"{self._job.title}: {self._job.describe(shard)} failed and is repeated: {_text(cause)}")
            return True
        self.given_up.add(shard)
        if self._job.ledger is None:
            self.check()
        return False

    def check(self) -> None:
        """Raise ExecutionError if shards were given up."""
        if not self.given_up:
            return
        shards, count = sorted(self.given_up), len(self._job.sizes)
        causes = [self._causes[shard][-1] for shard in shards]
        pairs = list(zip(shards, causes, strict=True))[:_LISTED]
        lines = [f"  {self._job.describe(shard)}: {_text(cause)}" for shard, cause in pairs]
        lines += [f"  and {len(shards) - _LISTED:,} more"] * (len(shards) > _LISTED)
        attempts = f"{self._attempts} attempts" if self._attempts > 1 else "the only attempt"
        kept = ". The others are stored: repeat the command to compute only the failed ones" if self._job.ledger else ""
        message = f"{self._job.title}: {len(shards):,} of {count:,} shards failed in {attempts}{kept}"
        raise ExecutionError("\n".join([message, *lines])) from (
            causes[0] if isinstance(causes[0], BaseException) else None
        )


def _text(cause: BaseException | str) -> str:
    return cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
