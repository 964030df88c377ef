"""Dynamic batching: requests that wait at the same time are processed together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol

from encloze.serving.errors import OverloadedError


class BatchObserver(Protocol):
    """Receives what is measured of each batch."""

    def batch(self, stage: str, items: int, waited: float, computed: float) -> None:
        """Called after each batch.

        Args:
            stage: Name of the batcher, such as ``search``.
            items: Number of items of the batch, such as queries.
            waited: Seconds that its first request waited.
            computed: Seconds that the batch took.
        """
        ...


class _Waiting(NamedTuple):
    key: Hashable
    items: Sequence[Any]
    size: int
    result: asyncio.Future[list[Any]]
    since: float


class Batcher:
    """Collects the items of concurrent requests, and processes those with the same key in one call.

    A batch starts as soon as the worker is free: a single request is never delayed, and the more requests arrive while
    a batch is computed, the larger the next one is. Requests whose future was cancelled, because their client has left,
    are left out.

    Args:
        name: Name in metrics.
        process: Function of a key and a list of items that returns a result for each item. It runs in the executor.
        executor: Where batches are processed. Batchers with the same executor of one thread never run at once.
        max_size: Maximum size of a batch: the sum of ``size_of`` of its items. A batch has at least one request.
        max_waiting: Maximum number of items that wait; further requests are refused.
        size_of: Function of an item that estimates its cost, such as its length in characters.
        observer: Receives sizes and times of batches.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> async def lengths() -> list[int]:
        ...     def process(key, items):
        ...         return [len(item) for item in items]
        ...     batcher = Batcher("lengths", process, ThreadPoolExecutor(1), 1000, 10, len)
        ...     batcher.start()
        ...     return await batcher.submit("any key", ["a", "bc"])
        >>> asyncio.run(lengths())
        [1, 2]
    """

    def __init__(
        self,
        name: str,
        process: Callable[[Any, list[Any]], Sequence[Any]],
        executor: Executor,
        max_size: int,
        max_waiting: int,
        size_of: Callable[[Any], int],
        observer: BatchObserver | None = None,
    ) -> None:
        self.name, self._process, self._executor = name, process, executor
        self._max_size, self._max_waiting, self._size_of = max_size, max_waiting, size_of
        self._observer = observer
        self._queue, self.waiting = deque[_Waiting](), 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start processing, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Process what is waiting, and stop."""
        while self._queue:
            await asyncio.sleep(0.01)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def submit(self, key: Hashable, items: Sequence[Any]) -> list[Any]:
        """Return a result for each item.

        Args:
            key: What items of one batch have in common, such as the settings of a search.
            items: At least one item.

        Raises:
            OverloadedError: Too many items wait.
            Exception: What processing the batch raised.
        """
        if self.waiting and self.waiting + len(items) > self._max_waiting:
            raise OverloadedError(f"{self.waiting} items are waiting for {self.name}. Try again later", 1)
        result: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(key, items, sum(map(self._size_of, items)), result, time.monotonic()))
        self.waiting += len(items)
        self._wake.set()
        return await result

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            items = [item for waiting in batch for item in waiting.items]
            began = time.monotonic()
            try:
                results = await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._process, batch[0].key, items
                )
            except Exception as error:  # each request reports it
                for waiting in batch:
                    if not waiting.result.done():
                        waiting.result.set_exception(error)
                continue
            if self._observer:
                self._observer.batch(self.name, len(items), began - batch[0].since, time.monotonic() - began)
            start = 0
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_result(list(results[start : start + len(waiting.items)]))
                start += len(waiting.items)

    def _next_batch(self) -> list[_Waiting]:
        """Remove from the queue the oldest request and others with its key, as many as fit into a batch."""
        batch, rest, size = list[_Waiting](), deque[_Waiting](), 0
        while self._queue:
            waiting = self._queue.popleft()
            if waiting.result.done():  # cancelled
                self.waiting -= len(waiting.items)
            elif not batch or (waiting.key == batch[0].key and size + waiting.size <= self._max_size):
                batch.append(waiting)
                size += waiting.size
                self.waiting -= len(waiting.items)
            else:
                rest.append(waiting)
        self._queue = rest
        return batch
