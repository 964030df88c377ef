"""Advisory locks on folders, released when the process ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

NOT_YET_LOCKED = 60.0  # seconds


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as the block runs and the process lives."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether the process that made a folder lives, or may not have locked it yet, or cannot be told of."""
    try:
        if time.time() - folder.stat().st_mtime < NOT_YET_LOCKED:
            return True
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # another process removed it, or Windows opens no folders
        return True
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Take a lock that goes with the process; whether it was free. Where there are no such locks, none is."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # of Windows; of some shared disks
        return False
    return True


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove folders whose processes are gone."""
    for left in folders:
        if not is_held(left):
            shutil.rmtree(left, ignore_errors=True)
