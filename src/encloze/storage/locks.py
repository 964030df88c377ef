"""Locks of files and folders by the operating system, released when the process ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from encloze.storage.disk import remove

NOT_YET_LOCKED = 60.0
"""Seconds during which a new folder counts as in use although it is not locked yet."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs. The lock is released when the process ends, even if it is killed."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        yield
        return
    try:
        try_lock(handle)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Return whether a file or folder is possibly in use: it is locked, or so new that it may not be locked yet."""
    try:
        if time.time() - path.stat().st_mtime < NOT_YET_LOCKED:
            return True
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # removed by another process, or on Windows
        return True
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool | None:
    """Lock an open file or folder, unless another process or another handle has locked it.

    Returns:
        Whether it is locked by this handle now; None if the file system has no locks.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # no flock on Windows and on some network file systems
        return None
    return True


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove those files and folders that no running process uses."""
    for left in paths:
        if not is_held(left):
            remove(left)
