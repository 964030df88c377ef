"""Jobs: computations that map each shard of an input to one result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from encloze.execution.ledger import Ledger

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Computation(Protocol[T_co]):
    """What a process needs to compute shards of a job, apart from their inputs. It is sent to the process by pickle."""

    def load(self) -> Callable[[Any], T_co]:
        """Return a function that computes the result of a shard from its input. It is called once in each process."""
        ...


class Job(ABC, Generic[T]):
    """A computation that maps each shard of an input to one result.

    A job is deterministic: the result of a shard depends only on the input and the settings of the job. Any process may
    therefore compute any shard, and a shard may be computed more than once.
    """

    title: str
    """Title of progress reports, such as ``Encoding``."""
    unit: str
    """What shards consist of, such as ``documents``."""
    sizes: Sequence[int]
    """Number of items in each shard. Shards are consecutive parts of the input."""
    ledger: Ledger[T] | None = None
    """Ledger that stores the results of finished shards; None if results are not stored."""

    @abstractmethod
    def process(self, shards: Sequence[int]) -> Iterator[T]:
        """Compute the results of some shards in this process, in the order of ``shards``.

        Resources such as a model are loaded at most once per call, not once per shard.

        Args:
            shards: Shard numbers.

        Yields:
            The result of each shard.
        """

    @abstractmethod
    def computation(self) -> Computation[T]:
        """Return what other processes need to compute shards of this job.

        Raises:
            RecipeError: Other processes cannot compute it, such as with a model that is in no folder.
        """

    @abstractmethod
    def input(self, shard: int) -> Any:
        """Return the input of a shard for the function that ``Computation.load`` returns. It is pickled."""

    def describe(self, shard: int) -> str:
        """Return which part of the input a shard is, for messages: ``documents 4,097 to 8,192``."""
        begin = sum(self.sizes[:shard])
        return f"{self.unit} {begin + 1:,} to {begin + self.sizes[shard]:,}"

    def on_resume(self, finished: int) -> None:
        """Report that a job is resumed. Executors call this once, before they compute the remaining shards.

        The default implementation does nothing.

        Args:
            finished: Number of shards whose results are read from the ledger instead of computed.
        """
