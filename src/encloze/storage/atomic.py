"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from encloze.errors import StorageError
from encloze.storage import locks
from encloze.storage.disk import explain_write_errors, remove, sync
from encloze.storage.locks import hold, remove_abandoned
from encloze.storage.manifest import write_manifest
from encloze.storage.names import MANIFEST


@contextlib.contextmanager
def atomic_folder(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside ``output`` to write into; when the block ends well it gets a manifest and takes that name.

    Raises StorageError where ``output`` exists (unless ``overwrite``) and where the disk is full; after any error
    nothing is left behind, and an older ``output`` is as it was.
    """
    refuse_existing(output, overwrite=overwrite)
    staging = output.with_name(f".{output.name}.writing-{os.getpid()}")
    try:
        with explain_write_errors(output):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            with hold(staging):
                yield staging
                write_manifest(staging)
                replace_folder(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _recover(output: Path) -> None:
    """Put away what a killed process left half-written, and put back what it had moved out of the way."""
    remove_abandoned(output.parent.glob(f".{glob.escape(output.name)}.writing-*"))
    for old in output.parent.glob(f".{glob.escape(output.name)}.old-*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - old.stat().st_ctime < locks.NOT_YET_LOCKED:  # or is about to remove it
                continue
            if output.exists():
                remove(old)
            else:
                old.rename(output)


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise StorageError where a result would land on something that is there already.

    Even with ``overwrite`` only what encloze wrote is replaced, never a folder of something else.
    """
    if output.name in ("", ".."):
        raise StorageError(f"{output} is no name that a new folder can take. Choose another --output")
    _recover(output)
    if output.exists() and not overwrite:
        raise StorageError(f"{output} exists already. Choose another --output, or give --overwrite to replace it")
    if output.exists() and not (output / MANIFEST).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise StorageError(f"{output} was not written by encloze: it is not overwritten. Choose another --output")


def replace_folder(source: Path, output: Path) -> None:
    """Move the folder ``source`` to ``output``, and what was there out of the way first."""
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    if output.exists():
        shutil.rmtree(old, ignore_errors=True)  # of a process of the same number that was killed here
        output.rename(old)
    try:
        source.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    sync(output.parent)
    remove(old)
