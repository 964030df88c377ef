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
    therefore compute any shard, also repeatedly.
    """

    sizes: Sequence[int]
    """Number of items in each shard. Shards are consecutive parts of the input."""
    ledger: Ledger[T] | None = None
    """Ledger that stores the results of finished shards; None if results are not stored."""

    @abstractmethod
    def process(self, shards: Sequence[int]) -> Iterator[T]:
        """Compute some shards, in the given order.

        A worker loads resources, such as a model, once for all of these shards.

        Args:
            shards: Shard numbers.

        Yields:
            The result of each shard.
        """

    def on_resume(self, finished: int) -> None:
        """Called once before shards are computed. Overridden to report a resumed job; does nothing by default.

        Args:
            finished: Number of shards whose results are read from the ledger instead of computed.
        """
