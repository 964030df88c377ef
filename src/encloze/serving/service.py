"""The service behind all protocols: batched searches, embeddings and re-ranking, changes, and judgments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from scipy.special import expit
from starlette.requests import Request

from encloze.data.records import Representation
from encloze.encoders.base import Encoder, Reranker
from encloze.evaluation.latency import collect_stages
from encloze.retrieval.results import Hits
from encloze.serving.batching import Batcher
from encloze.serving.collections import Collection, SearchOptions
from encloze.serving.errors import ConflictError, InvalidError, NotFoundError, RequestError, ServiceError, TimedOutError
from encloze.serving.judgments import JudgmentFile
from encloze.serving.limits import Limits
from encloze.serving.metrics import Metrics
from encloze.serving.result_cache import ResultCache
from encloze.text.encoding import Side

T = TypeVar("T")
LOGGER = logging.getLogger("encloze.serving")
BATCH_CHARACTERS = 64_000
"""Maximum number of characters of the texts of a batch."""
_OVERHEAD = 16  # characters that a text costs in addition to its own


class Service:
    """Collections and models, used by all protocols.

    One thread computes: batches of searches, embeddings and re-ranking, and changes of documents, one after the other.
    Libraries use several threads inside of a batch.

    Args:
        collections: The served collections, by name.
        encoder: Encoder of embeddings; None for that of the first collection that has one.
        reranker: Re-ranker; None if there is none.
        judgments: Files of judgments of users, by collection; empty if they are not stored.
        limits: What a request may cost.
        batch_characters: Maximum number of characters of the texts of a batch; with 1, requests are processed one by
            one.
    """

    def __init__(
        self,
        collections: Mapping[str, Collection],
        encoder: Encoder | None,
        reranker: Reranker | None,
        judgments: Mapping[str, JudgmentFile] | None = None,
        limits: Limits | None = None,
        batch_characters: int = BATCH_CHARACTERS,
    ) -> None:
        self.collections, self._encoder, self.reranker = dict(collections), encoder, reranker
        self.judgments, self.limits, self.metrics = dict(judgments or {}), limits or Limits(), Metrics()
        self._batch_characters = batch_characters
        self._executor = ThreadPoolExecutor(1, "encloze-compute")
        self._results = ResultCache(self.limits.cached_results, self.metrics.cached)
        self._search = self._batcher("search", self._search_batch, len)
        self._encode = self._batcher("encode", self._encode_batch, len)
        self._rerank = self._batcher("rerank", self._rerank_batch, lambda pair: len(pair[0]) + len(pair[1]))
        for collection in self.collections.values():
            self.metrics.opened(collection.name, len(collection))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Process requests in the running event loop; at the end, finish those that were accepted."""
        batchers = (self._search, self._encode, self._rerank)
        for batcher in batchers:
            batcher.start()
        yield
        for batcher in batchers:
            await batcher.close()
        self._executor.shutdown()

    @property
    def encoder(self) -> Encoder | None:
        """The encoder of embeddings: the given one, or that of the first collection that has one."""
        found = (collection.encoder for collection in self.collections.values())
        return self._encoder or next(filter(None, found), None)

    def collection(self, name: str | None) -> Collection:
        """Return a collection, or the only one. Raises NotFoundError if there is none with this name."""
        if name is None and len(self.collections) == 1:
            return next(iter(self.collections.values()))
        if name is None and self.collections:
            raise InvalidError(f"collection: name one of {', '.join(self.collections)}")
        if name not in self.collections:
            known = ", ".join(self.collections) or "none: the service was started without an index"
            raise NotFoundError(f"there is no collection {name!r}; the collections are {known}")
        return self.collections[name]

    async def search(self, request: Request, options: SearchOptions, query: str) -> Hits:
        """Return the hits of a query."""
        (hits,) = await self.attend(request, self._search.submit(options, [query]))
        found: Hits = hits
        return found

    async def encode(self, request: Request, side: Side, texts: Sequence[str]) -> Representation:
        """Return the embeddings, term weights or both of texts."""
        if self.encoder is None:
            raise NotFoundError("the service was started without an encoder")
        rows: list[Representation] = await self.attend(request, self._encode.submit(side, texts))
        return Representation.concatenate(rows)

    async def rerank(self, request: Request, query: str, texts: Sequence[str]) -> np.ndarray:
        """Return the score of each text for a query (float32)."""
        if self.reranker is None:
            raise NotFoundError("the service was started without a re-ranker")
        scores = await self.attend(request, self._rerank.submit("", [(query, text) for text in texts]))
        return np.asarray(scores, np.float32)

    def relevance(self, scores: np.ndarray) -> np.ndarray:
        """Return scores of the re-ranker as numbers from 0 to 1: their sigmoid, unless they are that already."""
        if self.reranker is None or self.reranker.activation == "sigmoid":
            return scores
        return np.asarray(expit(scores.astype(np.float64)))

    async def change(self, work: Callable[[], T]) -> T:
        """Run a change of documents in the computing thread. It is finished even if the client leaves.

        Raises:
            RequestError: What ``work`` raised, or ServiceError if the program failed.
        """
        with _explained():
            result: T = await asyncio.get_running_loop().run_in_executor(self._executor, work)
        for collection in self.collections.values():
            self.metrics.opened(collection.name, len(collection))
        return result

    async def judge(self, collection: str, query: str, document: str, grade: int | None) -> None:
        """Store a judgment, or remove it if ``grade`` is None."""
        if collection not in self.judgments:
            raise ConflictError("the service was started without a folder for judgments (--judgments)")
        if not query.strip():
            raise InvalidError("query: the query is empty")
        name, file = self.collection(collection).document(document).id, self.judgments[collection]
        await self.change(lambda: file.add({query: {name: grade}}))

    async def attend(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``; cancel it if the client leaves or if it takes too long.

        Raises:
            TimedOutError: It took longer than ``limits.seconds``.
            ServiceError: The program failed.
        """
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({task, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                with _explained():
                    return task.result()
            if gone.done():
                raise TimedOutError("the client has closed the connection")
            raise TimedOutError(f"the request was not processed within {self.limits.seconds:g} seconds")
        finally:
            task.cancel()
            gone.cancel()

    def _batcher(
        self, name: str, process: Callable[[Any, list[Any]], Sequence[Any]], length: Callable[[Any], int]
    ) -> Batcher:
        batcher = Batcher(
            name,
            process,
            self._executor,
            self._batch_characters,
            self.limits.waiting,
            lambda item: length(item) + _OVERHEAD,
            self.metrics,
        )
        self.metrics.watch_waiting(name, lambda: batcher.waiting)
        return batcher

    def _search_batch(self, options: SearchOptions, queries: list[str]) -> list[Hits]:
        collection = self.collections[options.collection]
        if collection.refresh():
            self.metrics.opened(collection.name, len(collection))
        with collect_stages() as seconds:
            found = self._results.search(collection, options, queries)
        self.metrics.searched(seconds)
        return found

    def _encode_batch(self, side: Side, texts: list[str]) -> list[Representation]:
        encoder = self.encoder
        assert encoder is not None  # checked before the request waits
        if side == "query":
            whole = encoder.represent_queries(texts)
        else:
            whole = Representation.concatenate(list(encoder.represent_documents(texts, len(texts))))
        return [
            Representation(*(None if view is None else view[row : row + 1] for view in whole))
            for row in range(len(texts))
        ]

    def _rerank_batch(self, _: str, pairs: list[tuple[str, str]]) -> list[float]:
        assert self.reranker is not None  # checked before the request waits
        return [float(score) for score in self.reranker.score(pairs)]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Log an error of the program in the ``with`` block, and raise ServiceError without its details."""
    try:
        yield
    except (RequestError, asyncio.CancelledError):
        raise
    except Exception as error:
        LOGGER.exception("a request failed")
        raise ServiceError("the service failed; its log says why") from error


async def _disconnected(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
