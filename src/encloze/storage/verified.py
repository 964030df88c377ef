"""Memory of successful checks of files, so that a check that reads whole files runs once per version of the files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from encloze.errors import StorageError
from encloze.storage.cache import cache_folder
from encloze.storage.disk import writer_id
from encloze.storage.hashes import checksum_of

_FILE = "verified.txt"
_KEY_BYTES = 32
_MAX_BYTES = 10_000 * (_KEY_BYTES + 2)
_CLOCK_TICK = 0.1
"""Seconds within which two changes of a file may get the same time: the clock of a file system is coarse."""
_COARSE_CLOCK_TICK = 2.1
"""The same for file systems that store whole seconds."""

_is_forgetful = ContextVar("_is_forgetful", default=False)


def check_once(name: str, files: Sequence[Path], check: Callable[[], None]) -> None:
    """Run a check of files, unless it succeeded before and the files have not changed since.

    A file counts as unchanged if its inode, size, and times of modification and status change are the same. Successful
    checks are remembered in ``verified.txt`` in the cache folder. Without that file, checks run again.

    Args:
        name: What is checked, with everything that the check depends on except the files, such as expected hashes.
        files: The files that the check reads.
        check: Function that raises an error if the check fails.
    """
    key, _ = _key(name, files)
    if not _is_forgetful.get() and _is_known(key):
        return
    began = time.time()
    check()
    after, newest = _key(name, files)
    if after == key and is_settled(newest, began):  # otherwise a later change might go unnoticed
        _remember(key)


@contextlib.contextmanager
def check_again() -> Iterator[None]:
    """Let ``check_once`` run every check within the block, even if it succeeded before."""
    token = _is_forgetful.set(True)
    try:
        yield
    finally:
        _is_forgetful.reset(token)


def _key(name: str, files: Sequence[Path]) -> tuple[str, int]:
    """Return a key of the check and the state of the files, and the time of the last change in nanoseconds."""
    states, newest = file_states(files)
    return checksum_of(repr((name, states))), newest


def file_states(files: Sequence[Path]) -> tuple[list[tuple[int, int, int, int, int]], int]:
    """Return numbers that differ if a file has changed, and the time of the last change of all files in nanoseconds."""
    stats = [file.stat() for file in files]
    states = [(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats]
    return states, max((max(s.st_mtime_ns, s.st_ctime_ns) for s in stats), default=0)


def is_settled(newest: int, began: float) -> bool:
    """Return whether files last changed at ``newest`` (ns) cannot change unnoticed after ``began`` (seconds)."""
    tick = _CLOCK_TICK if newest % 1_000_000_000 else _COARSE_CLOCK_TICK
    return newest / 1e9 < began - tick


def _is_known(key: str) -> bool:
    try:
        file = cache_folder() / _FILE
        if file.stat().st_size > 2 * _MAX_BYTES:  # not written by this module
            file.unlink()
        return f"\n{key}\n".encode() in file.read_bytes()
    except (OSError, StorageError):  # no memory yet, or no cache folder: the check runs again
        return False


def _remember(key: str) -> None:
    """Append the key to the memory. Appended lines of several processes do not mix."""
    with contextlib.suppress(OSError, StorageError):  # without a writable cache, the check runs again next time
        file = cache_folder() / _FILE
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, f"\n{key}\n".encode())
            is_full = os.fstat(handle).st_size > _MAX_BYTES
        finally:
            os.close(handle)
        if is_full:
            _shorten(file)


def _shorten(file: Path) -> None:
    """Keep the newer half of the keys."""
    keys = [key for key in file.read_bytes().split() if len(key) == _KEY_BYTES]
    staging = file.with_name(f".{_FILE}.{writer_id()}")
    try:
        staging.write_bytes(b"".join(b"\n%b\n" % key for key in keys[-_MAX_BYTES // (2 * (_KEY_BYTES + 2)) :]))
        staging.replace(file)
    finally:
        staging.unlink(missing_ok=True)
