"""Jobs: work that is a map over shards of an input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from encloze.execution.ledger import Ledger

T = TypeVar("T")


class Job(ABC, Generic[T]):
    """Work that is a map over shards of an input: shard numbers in, one result per shard out.

    A job is deterministic: a shard's result depends on the input and the job's settings alone, so that any process may
    compute any shard, and compute it again.
    """

    sizes: Sequence[int]
    """Number of items in each shard; shard ``i`` holds the items after those of the shards before it."""
    ledger: Ledger[T] | None = None
    """Where finished shards are stored; None if results are not stored."""

    @abstractmethod
    def process(self, shards: Sequence[int]) -> Iterator[T]:
        """Compute some shards, in the given order.

        A worker loads what it needs (a model, say) once for all shards it is given.

        Args:
            shards: Shard numbers.

        Yields:
            The result of each shard.
        """

    def on_resume(self, finished: int) -> None:
        """Report that ``finished`` shards are taken from the ledger. Called once, before any shard is computed."""
