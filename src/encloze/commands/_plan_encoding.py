"""Measurement of the speed and the memory of an encoder on a sample of documents, for ``encloze plan``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from encloze import progress
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.evaluation.latency import latencies
from encloze.retrieval.collection_costs import EncodingSpeed
from encloze.systems._memory import PeakMemory, anonymous_memory, release_free_memory
from encloze.systems.base import PROCESS_STATUS

_BLOCKS = 8
"""Blocks of documents of similar length that are encoded if there is no time for the whole sample."""
_WARM_UP, _PROBE, _REPETITIONS, _TIMED_QUERIES = 8, 16, 3, 30


class EncodingTrial:
    """Encodes documents of a sample as ``encode_corpus`` does, and measures time and memory.

    ``encode_corpus`` sorts windows of 4,096 documents by length. If the whole sample, which is such a window, takes too
    long, blocks of its sorted documents are encoded: the longest documents, and a block in the middle of each eighth of
    the others. The time of an eighth is that of its block times the number of blocks in it.

    Args:
        encoder: The encoder.
        texts: The sample, at most a window of documents.
        seconds: Time for the measurement.
    """

    def __init__(self, encoder: Encoder, texts: Sequence[str], seconds: float) -> None:
        self._encoder, self._texts, self._seconds = encoder, texts, seconds
        self.vectors = list[Representation]()
        """Vectors of the documents that were encoded."""

    def measure(self, queries: Sequence[str]) -> EncodingSpeed:
        """Return speed and memory. The latency is that of queries one by one."""
        encoder, texts = self._encoder, self._texts
        with progress.use_listener(progress.SilentListener()):
            lengths = np.array([encoder.count_tokens([text], "document") for text in texts])
            order = np.argsort(lengths, kind="stable")
            self._time(order[np.linspace(0, len(order) - 1, _WARM_UP).astype(np.int64)])
            probe = order[np.linspace(0, len(order) - 1, _PROBE).astype(np.int64)]
            rate = len(probe) / self._time(probe)
            window_bytes = self._tokenizing_bytes()
            self.vectors.clear()
            size = max(_PROBE, int(rate * self._seconds / (_BLOCKS + 1)))
            is_whole = size * (_BLOCKS + 1) >= len(texts)
            with _device_memory(encoder) as device, _peak() as peak:
                total, encoded = self._whole(order, rate) if is_whole else self._blocks(order, size)
            milliseconds = latencies(lambda query: encoder.represent_queries([query]), queries, _TIMED_QUERIES)["p50"]
        return EncodingSpeed(
            model=encoder.name,
            arithmetic=encoder.arithmetic,
            documents=encoded,
            documents_per_second=len(texts) / total,
            tokens_per_second=float(lengths.sum()) / total,
            memory_bytes=peak.bytes + (0 if is_whole else window_bytes) if isinstance(peak, PeakMemory) else None,
            device_bytes=device.bytes if isinstance(device, _DeviceMemory) else None,
            query_milliseconds=milliseconds,
        )

    def encode(self, queries: Sequence[str]) -> Representation:
        """Return the vectors of queries."""
        with progress.use_listener(progress.SilentListener()):
            return self._encoder.represent_queries(queries)

    def _whole(self, order: np.ndarray, rate: float) -> tuple[float, int]:
        """Return the median time of encoding the sample, and its size."""
        runs = min(_REPETITIONS, max(1, int(rate * self._seconds / len(order))))
        times = []
        for _ in range(runs):
            self.vectors.clear()
            times.append(self._time(np.sort(order)))
        return float(np.median(times)), len(order)

    def _blocks(self, order: np.ndarray, size: int) -> tuple[float, int]:
        """Return the predicted time of encoding the sample, and the number of documents that were encoded."""
        total = self._time(order[-size:])
        parts = np.array_split(order[:-size], _BLOCKS)
        for part in parts:
            start = max(0, (len(part) - size) // 2)
            block = part[start : start + size]
            total += self._time(block) * len(part) / len(block)
        return total, size + sum(min(size, len(part)) for part in parts)

    def _time(self, rows: np.ndarray) -> float:
        """Encode documents of the sample, and return the seconds."""
        texts = [self._texts[row] for row in rows]
        began = time.perf_counter()
        parts = list(self._encoder.represent_documents(texts, len(texts)))
        seconds = time.perf_counter() - began
        self.vectors += [self._encoder.similarity.for_inner_products(part) for part in parts]
        return seconds

    def _tokenizing_bytes(self) -> int:
        """Return the memory that the tokens of the sample take while it is encoded."""
        release_free_memory()
        with _peak() as peak:
            before = peak.bytes if isinstance(peak, PeakMemory) else 0
            self._encoder.count_tokens(self._texts, "document")
        release_free_memory()
        return peak.bytes - before if isinstance(peak, PeakMemory) else 0


def memory_now() -> int:
    """Return the memory of this process without mapped files after freed memory was returned; 0 if it is not known."""
    release_free_memory()
    return anonymous_memory() if PROCESS_STATUS.exists() else 0


def _peak() -> PeakMemory | AbstractContextManager[None]:
    """Return a measurement of the peak memory; one without a result on systems other than Linux."""
    return PeakMemory() if PROCESS_STATUS.exists() else nullcontext()


class _DeviceMemory:
    """Context manager that measures the peak memory of the GPU of an encoder, in ``bytes``."""

    def __init__(self, device: str) -> None:
        self._device, self.bytes = device, 0.0

    def __enter__(self) -> _DeviceMemory:
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self.bytes = float(torch.cuda.max_memory_allocated(self._device))


def _device_memory(encoder: Encoder) -> _DeviceMemory | AbstractContextManager[None]:
    device = str(getattr(encoder, "device", "cpu"))
    return _DeviceMemory(device) if device.startswith("cuda") else nullcontext()
