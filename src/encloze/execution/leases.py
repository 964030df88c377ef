"""Leases: which of several processes, perhaps on several machines, computes a shard of a job.

A lease is a file in the folder of the ledger, which must be shared by the processes. Its holder touches it regularly;
a lease that was not touched for a minute belongs to a process that died, and any other process may take it over. Times
are those of the file system, so that the clocks of the machines may differ. In rare cases, two processes compute the
same shard; their results are equal, and one of them is kept.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

from encloze.storage.disk import writer_id

EXPIRY = 60.0
"""Seconds after which a lease that its holder did not touch may be taken over."""
_TOUCHES = 6  # within this time


class Leases:
    """Leases of the shards of a job.

    Args:
        folder: The folder of the ledger.
        expiry: Seconds after which a lease that its holder did not touch may be taken over.
    """

    def __init__(self, folder: Path, expiry: float = EXPIRY) -> None:
        self._folder, self._expiry = folder, expiry
        self._owner = f"{platform.node()}-{writer_id()}"

    @contextlib.contextmanager
    def hold(self, shard: int) -> Iterator[bool]:
        """Hold the lease of a shard while the block runs, if no living process holds it. Yield whether it is held."""
        file = self._folder / f"{shard:06}.lease"
        if not self._take(file):
            yield False
            return
        stopped = threading.Event()
        thread = threading.Thread(target=self._touch, args=(file, stopped), daemon=True)
        thread.start()
        try:
            yield True
        finally:
            stopped.set()
            thread.join()
            with contextlib.suppress(OSError):  # taken over meanwhile
                if file.read_text(encoding="utf-8") == self._owner:
                    file.unlink()

    def _take(self, file: Path) -> bool:
        if self._create(file):
            return True
        if not self._has_expired(file):
            return False
        abandoned = file.with_name(f".{file.name}.{self._owner}")
        try:
            file.rename(abandoned)  # only one process succeeds
            abandoned.unlink()
        except OSError:
            return False
        return self._create(file)

    def _create(self, file: Path) -> bool:
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(self._owner)
        except FileExistsError:
            return False
        return True

    def _has_expired(self, file: Path) -> bool:
        clock = self._folder / f".clock-{self._owner}"
        clock.touch()
        try:
            return clock.stat().st_mtime - file.stat().st_mtime > self._expiry
        except FileNotFoundError:  # its holder has just finished
            return False
        finally:
            clock.unlink(missing_ok=True)

    def _touch(self, file: Path, stopped: threading.Event) -> None:
        while not stopped.wait(self._expiry / _TOUCHES):
            with contextlib.suppress(OSError):  # taken over, or the file system is not available for a while
                os.utime(file)
