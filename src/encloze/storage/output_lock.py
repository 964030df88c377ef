"""Lock of an output folder, which only one run at a time writes. What killed runs have left beside it is removed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import re
import time
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.errors import StorageError
from encloze.storage.disk import existing_parent, exists, explain_write_errors, remove
from encloze.storage.locks import try_lock
from encloze.storage.ownership import is_removable

_MAX_NAME_BYTES = 200
"""File systems allow 255 bytes; the names of lock files, temporary folders and checkpoints are longer."""
_ROLES = ("old", "writing")
_PATIENCE = 2.0
"""Seconds to wait while another process replaces a folder."""

_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())
"""Outputs that the current thread has locked: a command locks its output, and so do functions that it calls."""


@contextlib.contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """Lock an output folder while the block runs. The lock is released when the process ends, even if it is killed.

    The lock is the file ``.NAME.lock`` beside the output, locked by the operating system; it exists only while the
    output is locked. It contains the id and the start time of the process. If the last process was killed, what it has
    left beside the output is removed; if it was killed while it replaced the output, the old output is restored.

    In distributed training, only the main process locks the output. A thread may lock an output more than once.

    Raises:
        StorageError: Another process or thread is writing the output, or the lock file cannot be written.
    """
    check_path(output)
    key = Path(os.path.realpath(output.parent)) / output.name
    if key in _held.get() or os.environ.get("RANK", "0") != "0":
        yield
        return
    with _new_parents(output):
        with explain_write_errors(output):
            handle, file = _acquire(output)
        token = _held.set(_held.get() | {key})
        foreign: set[Path] = set()
        try:
            with explain_write_errors(output):
                _recover(output, _read_owner(file).get("process"))
                foreign = {
                    path for folder in _folders(output) for role in _ROLES for path in _left_behind(folder, role)
                }
                _write_owner(handle)
            yield
        finally:
            _held.reset(token)
            with contextlib.suppress(OSError):  # what an interruption left; the next run would not know that it is ours
                _recover(output, os.getpid(), foreign)
            with contextlib.suppress(OSError):  # open files cannot be removed on Windows
                file.unlink()  # before it is unlocked, so that no other process has locked it already
            os.close(handle)


def restore_interrupted(output: Path) -> None:
    """If ``output`` is missing because a process was killed while it replaced it, restore the old folder.

    If a running process is replacing it at the moment, wait for that.
    """
    deadline = time.monotonic() + _PATIENCE
    while not exists(output) and _left_behind(output, "old") and time.monotonic() < deadline:
        with contextlib.suppress(StorageError), lock_output(output):  # a folder that cannot be written stays as it is
            return
        time.sleep(0.02)


def remove_leftovers(output: Path) -> None:
    """Remove or restore what killed processes have left beside ``output``, unless a process is writing it."""
    has_leftovers = any(_left_behind(folder, role) for folder in _folders(output) for role in _ROLES)
    if has_leftovers or _lock_file(output).exists():
        with contextlib.suppress(StorageError), lock_output(output):
            return


def check_path(output: Path) -> None:
    """Raise StorageError if a path cannot be that of a new folder."""
    if output.name in ("", ".."):
        raise StorageError(f"{output} is not a name for a new folder. Choose another --output")
    if len(output.name.encode(errors="replace")) > _MAX_NAME_BYTES:
        raise StorageError(f"{output}: the name is longer than {_MAX_NAME_BYTES} bytes. Choose a shorter --output")
    with explain_write_errors(output):
        parent = existing_parent(output)
    if not parent.is_dir():
        raise StorageError(f"{output} cannot be written: {parent} is not a folder. Choose another --output")


def temporary_name(folder: Path, role: str) -> Path:
    """Return an unused path beside ``folder`` for a temporary folder of this process.

    Args:
        folder: The folder.
        role: ``writing`` for a new folder that is not complete yet, ``old`` for a folder that is being replaced.
    """
    path = folder.with_name(f".{folder.name}.{role}-{os.getpid()}")
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())


@contextlib.contextmanager
def _new_parents(output: Path) -> Iterator[None]:
    """Create the parents of ``output``. Those that are empty afterwards are removed."""
    created = [parent for parent in output.parents if not exists(parent)]
    try:
        with explain_write_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for parent in created:
            with contextlib.suppress(OSError):  # it is not empty
                parent.rmdir()


def _acquire(output: Path) -> tuple[int, Path]:
    """Create and lock the lock file of an output. Return its handle and path."""
    file = _lock_file(output)
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            is_locked = try_lock(handle)
            if is_locked is None:
                progress.warn(f"{file} cannot be locked on this file system: start no other run with this --output")
            if is_locked is False:
                raise StorageError(
                    f"{output} is being written by another run, {_describe_owner(file)}. Wait until it ends, or choose "
                    "another --output"
                )
            if (content := os.read(handle, 4096)) and "process" not in _parse_owner(content):
                raise StorageError(f"{file}, where the lock would be, was not written by encloze. Move or remove it")
            if _is_same_file(handle, file):  # otherwise the process that had locked it has removed it meanwhile
                return handle, file
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.lock")


def _is_same_file(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _write_owner(handle: int) -> None:
    owner = {
        "process": os.getpid(),
        "machine": platform.node(),
        "started": datetime.now().astimezone().isoformat(" ", "seconds"),
    }
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps(owner).encode())


def _read_owner(file: Path) -> dict[str, Any]:
    """Return the owner of a lock, or the last owner if it was killed; empty if there is none."""
    try:
        return _parse_owner(file.read_bytes())
    except OSError:  # it has been removed meanwhile
        return {}


def _parse_owner(content: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(content)
    except ValueError:  # not written yet, or of another program
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe_owner(file: Path) -> str:
    for _ in range(20):  # its owner may be about to write it
        if owner := _read_owner(file):
            return f"process {owner.get('process')} on {owner.get('machine')}, started {owner.get('started')}"
        time.sleep(0.01)
    return "of an unknown process"


def _recover(output: Path, last_process: Any, foreign: Collection[Path] = ()) -> None:
    """Remove the temporary folders of the process that was killed; restore ``output`` if it had been renamed.

    Other folders with such names are removed only if they have a manifest, which proves that encloze wrote them.

    Args:
        output: The output folder.
        last_process: Id of the process that had locked the output.
        foreign: Folders that do not belong to this process although their names contain its id.
    """
    for folder in _folders(output):
        for role in _ROLES:
            for left, process in _left_behind(folder, role).items():
                if left in foreign or (process != last_process and not is_removable(left)):
                    continue
                if role == "old" and folder == output and not exists(output):
                    left.rename(output)
                else:
                    remove(left)


def _folders(output: Path) -> tuple[Path, Path]:
    """Return an output folder and its work folder (see ``RunState``)."""
    return output, output.with_name(f"{output.name}.checkpoint")


def _left_behind(folder: Path, role: str) -> dict[Path, int]:
    """Return the temporary folders beside ``folder`` (see ``temporary_name``) with the ids of their processes."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.{role}-(\d+)(-\d+)?")
    try:
        names = sorted(path.name for path in folder.parent.iterdir() if pattern.fullmatch(path.name))
    except OSError:  # there is no such folder
        return {}
    found = {folder.with_name(name): int(name.removeprefix(f".{folder.name}.{role}-").split("-")[0]) for name in names}
    return {path: process for path, process in found.items() if path.is_dir()}
