"""Disk operations, and uniform error messages for full disks, missing permissions and impossible paths."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from encloze.errors import StorageError

_UNUSABLE_ERRNO = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS, errno.ELOOP)
_FULL_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_MESSAGES = ("No space left on device", "File too large", "os error 28", "requested and")  # the last is numpy's


@contextlib.contextmanager
def explain_write_errors(output: Path) -> Iterator[None]:
    """Raise StorageError if the ``with`` block fails because of a full disk, a missing permission or a bad path."""
    try:
        yield
    except Exception as error:  # safetensors, arrow and faiss each raise their own type
        full = getattr(error, "errno", None) in _FULL_ERRNO
        if full or any(sign in str(error) for sign in _FULL_MESSAGES):
            free = shutil.disk_usage(existing_parent(output)).free
            raise StorageError(
                f"the disk is full ({free / 2**20:.0f} MiB free) while writing {output}. "
                "Free some space or choose another --output; no partial file was left"
            ) from error
        if isinstance(error, PermissionError):
            path = error.filename or output
            raise StorageError(f"{path} cannot be written: permission denied. Choose another --output") from error
        if isinstance(error, OSError) and error.errno in _UNUSABLE_ERRNO:
            raise StorageError(f"{output} cannot be written: {error.strerror}. Choose another --output") from error
        raise


@contextlib.contextmanager
def explain_file_errors() -> Iterator[None]:
    """Raise StorageError if the ``with`` block fails because the operating system refuses a file or folder.

    A block that knows what it reads or writes gives a better message (``explain_write_errors``, ``read_json``).
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None or error.filename is None:  # raised by a library for another reason
            raise
        raise StorageError(
            f"{os.fsdecode(error.filename)} cannot be read or written: {error.strerror}. Check the path and its "
            "permissions"
        ) from error


def existing_parent(path: Path) -> Path:
    """Return the closest parent folder of ``path`` that exists."""
    return next(parent for parent in path.resolve().parents if parent.exists())


def writer_id() -> str:
    """Return an id of this process and thread, for the names of temporary files and folders."""
    is_main = threading.current_thread() is threading.main_thread()
    return str(os.getpid()) if is_main else f"{os.getpid()}-{threading.get_ident()}"


def exists(path: Path) -> bool:
    """Return whether a file or folder exists; False for a name that no file can have, such as one that is too long."""
    try:
        return path.exists()
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Return the total size of the files of a folder, in bytes."""
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
