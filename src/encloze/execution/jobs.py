"""Jobs: computations that map each shard of an input to one result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from encloze.execution.ledger import Ledger

T = TypeVar("T")


class Job(ABC, Generic[T]):
    """A computation that maps each shard of an input to one result.

    A job is deterministic: the result of a shard depends only on the input and the settings of the job. Any process may
    therefore compute any shard, and a shard may be computed more than once.
    """

    sizes: Sequence[int]
    """Number of items in each shard. Shards are consecutive parts of the input."""
    ledger: Ledger[T] | None = None
    """Ledger that stores the results of finished shards; None if results are not stored."""

    @abstractmethod
    def process(self, shards: Sequence[int]) -> Iterator[T]:
        """Compute the results of some shards, in the order of ``shards``.

        Resources such as a model are loaded at most once per call, not once per shard.

        Args:
            shards: Shard numbers.

        Yields:
            The result of each shard.
        """

    def on_resume(self, finished: int) -> None:
        """Report that a job is resumed. Executors call this once, before they compute the remaining shards.

        The default implementation does nothing.

        Args:
            finished: Number of shards whose results are read from the ledger instead of computed.
        """
