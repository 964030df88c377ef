"""Disk operations whose failures are reported in one way: full disks, permissions, syncing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from encloze.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_IN_WORDS = ("No space left on device", "File too large", "os error 28", "requested and")  # the last is numpy's


@contextlib.contextmanager
def explain_write_errors(output: Path) -> Iterator[None]:
    """Turn the many ways in which libraries say that the disk is full into one StorageError."""
    try:
        yield
    except Exception as error:  # safetensors, arrow and faiss each raise their own kind
        full = getattr(error, "errno", None) in _FULL
        if full or any(sign in str(error) for sign in _FULL_IN_WORDS):
            free = shutil.disk_usage(existing_parent(output)).free
            raise StorageError(
                f"the disk is full ({free / 2**20:.0f} MiB free) while writing {output}. "
                "Make room or choose another --output; nothing half-written was left"
            ) from error
        if isinstance(error, PermissionError):
            raise StorageError(f"{error.filename or output} may not be written. Choose another --output") from error
        raise


def existing_parent(path: Path) -> Path:
    """The nearest folder above ``path`` that exists."""
    return next(parent for parent in path.resolve().parents if parent.exists())


def size_of(path: Path) -> int:
    """The bytes of a folder's files."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
