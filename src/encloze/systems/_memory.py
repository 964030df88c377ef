"""Worker process that prepares one system, searches with it, and prints the peak memory of the search in bytes.

``System.measure_memory`` starts it and writes a request as JSON to its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from encloze import recipe
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.settings import Settings
from encloze.systems.base import System

_STATUS = Path("/proc/self/status")
_INTERVAL = 0.005
"""Seconds between two samples of the memory."""


@dataclass(frozen=True)
class MemoryRequest(Settings):
    """Request to the worker process: which system searches which queries."""

    system: System
    """System whose memory is measured."""
    dataset: Format
    """Data set whose documents are searched."""
    split: str
    """Split of the data set whose queries are used."""
    judgments_by_source: bool
    """Whether the documents are passages, and the judgments have the ids of the longer texts they were cut from."""
    depth: int
    """Number of documents to rank for each query."""


class PeakMemory:
    """Context manager that measures the peak memory of this process, in ``bytes``; memory-mapped files are excluded."""

    def __enter__(self) -> PeakMemory:
        self.bytes, self._is_over = anonymous_memory(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.bytes = max(self.bytes, anonymous_memory())

    def _sample(self) -> None:
        while not self._is_over.wait(_INTERVAL):
            self.bytes = max(self.bytes, anonymous_memory())


def anonymous_memory() -> int:
    """Return the memory of this process in bytes, without memory-mapped files. Only Linux reports it."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def release_free_memory() -> None:
    """Return freed memory to the operating system (``malloc_trim`` of glibc)."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has malloc_trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _main() -> None:
    request: MemoryRequest = recipe.build(MemoryRequest, json.load(sys.stdin))
    dataset = DatasetSplit(request.dataset, request.split, request.judgments_by_source)
    with request.system.prepare(dataset) as prepared:
        gc.collect()
        release_free_memory()
        with PeakMemory() as peak:
            prepared.rank(dataset.queries, request.depth)
    sys.stdout.write(str(peak.bytes))


if __name__ == "__main__":
    _main()
