"""Exchange of two folders in one step, so that each name always leads to a whole folder."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from encloze.storage.disk import sync
from encloze.storage.output_lock import temporary_name

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def exchange(first: Path, second: Path) -> None:
    """Exchange the names of two folders on the same file system.

    Linux exchanges them atomically (renameat2). Elsewhere, and on file systems that cannot, there are three renames: if
    the process is killed between them, the next use of ``first`` restores it (see ``restore_interrupted``).

    Args:
        first: A folder that exists. Processes that open it at any time find one of the two.
        second: The other folder.
    """
    if not _exchange_atomically(first, second):
        old = temporary_name(first, "old")
        first.rename(old)
        second.rename(first)
        old.rename(second)
    for parent in {first.parent, second.parent}:
        sync(parent)


def _exchange_atomically(first: Path, second: Path) -> bool:
    """Return whether the folders were exchanged; False if the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    code = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(code == 0)
