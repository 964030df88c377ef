"""How much memory a system holds while it searches: told by a process of its own, which does nothing else.

In one process that runs several systems, what one holds cannot be told from what another left.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from encloze import recipe
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import EnclozeError
from encloze.settings import Settings, plain
from encloze.systems.base import System

_STATUS = Path("/proc/self/status")  # Linux
_EVERY = 0.005  # seconds


def memory_of(system: System, dataset: DatasetSplit, depth: int) -> int | None:
    """Bytes: the most that the process holds while it ranks the queries, Python's own included, mapped files not.

    None where the machine does not tell, and for a system that does not search. Raises EnclozeError where it fails.
    """
    if not _STATUS.exists() or not system.heeds:
        return None
    asked = json.dumps(plain(_Asked(system, dataset.format, dataset.split, dataset.by_source, depth)))
    done = subprocess.run([sys.executable, "-m", __name__], input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise EnclozeError(f"the memory of {system.title or system.label()} could not be measured: {said[-1]}")
    return int(done.stdout)


@dataclass(frozen=True)
class _Asked(Settings):
    """What the other process is to do."""

    system: System
    """What searches."""
    dataset: Format
    """Where its documents and queries are."""
    split: str
    """The part of the queries."""
    by_source: bool
    """Whether judgments name sources."""
    depth: int
    """How many documents are searched for."""


class _Peak:
    """The most memory that is held while a block runs, looked at a few hundred times a second."""

    def __enter__(self) -> _Peak:
        self.most, self._over = _held(), threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()
        self.most = max(self.most, _held())

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            self.most = max(self.most, _held())


def _held() -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def _give_back() -> None:
    """Let the C library return what making the system ready has left free."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # where it is another library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _main() -> None:
    asked: _Asked = recipe.build(_Asked, json.load(sys.stdin))
    dataset = DatasetSplit(asked.dataset, asked.split, asked.by_source)
    with asked.system.ready(dataset) as ready:
        _give_back()
        with _Peak() as peak:
            ready.rank(dataset.queries, asked.depth)
    sys.stdout.write(str(peak.most))


if __name__ == "__main__":
    _main()
