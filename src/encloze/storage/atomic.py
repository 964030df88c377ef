"""Atomic creation of folders."""

from __future__ import annotations

import contextlib
import glob
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from encloze.errors import StorageError
from encloze.storage import locks
from encloze.storage.disk import existing_parent, explain_write_errors, remove, sync, writer_id
from encloze.storage.json_files import read_json
from encloze.storage.locks import hold, remove_abandoned
from encloze.storage.manifest import write_manifest
from encloze.storage.names import MANIFEST

_MAX_NAME_BYTES = 200
"""File systems allow 255 bytes; the names of temporary folders and checkpoints are longer than that of the output."""


@contextlib.contextmanager
def atomic_folder(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a folder atomically: ``output`` appears only after all of its files are written.

    The ``with`` block writes into a temporary folder next to ``output``. When the block ends without an error, the
    temporary folder gets a manifest, is synced to disk and renamed to ``output``. After an error the temporary folder
    is removed, and an older ``output`` is unchanged.

    Args:
        output: The folder to write.
        overwrite: Whether a folder that encloze wrote may be replaced.

    Yields:
        The temporary folder.

    Raises:
        StorageError: ``output`` exists, or the disk is full.

    Example:
        >>> with atomic_folder(Path("result")) as folder:
        ...     _ = (folder / "figures.json").write_text("{}")
    """
    refuse_existing(output, overwrite=overwrite)
    staging = output.with_name(f".{output.name}.writing-{writer_id()}")
    try:
        with explain_write_errors(output):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            with hold(staging):
                yield staging
                write_manifest(staging)
                refuse_existing(output, overwrite=overwrite)  # another process may have written it meanwhile
                replace_folder(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _recover(output: Path) -> None:
    """Remove unfinished folders of killed processes. If such a process had renamed ``output``, undo the renaming."""
    remove_abandoned(output.parent.glob(f".{glob.escape(output.name)}.writing-*"))
    for old in output.parent.glob(f".{glob.escape(output.name)}.old-*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - old.stat().st_ctime < locks.NOT_YET_LOCKED:  # its process may still be about to remove it
                continue
            if output.exists():
                remove(old)
            else:
                old.rename(output)


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise StorageError if a folder ``output`` cannot be created, or if it exists and must not be replaced.

    Even with ``overwrite``, only folders that encloze wrote (they have a manifest) and empty folders are replaced.
    """
    if output.name in ("", ".."):
        raise StorageError(f"{output} is not a name for a new folder. Choose another --output")
    if len(output.name.encode(errors="replace")) > _MAX_NAME_BYTES:
        raise StorageError(f"{output}: the name is longer than {_MAX_NAME_BYTES} bytes. Choose a shorter --output")
    with explain_write_errors(output):
        parent = existing_parent(output)
    if not parent.is_dir():
        raise StorageError(f"{output} cannot be written: {parent} is not a folder. Choose another --output")
    _recover(output)
    if output.exists() and not overwrite:
        raise StorageError(f"{output} exists already. Choose another --output, or give --overwrite to replace it")
    if output.exists() and not (output / MANIFEST).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise StorageError(f"{output} was not written by encloze and is not overwritten. Choose another --output")
    if others := _results_inside(output):
        raise StorageError(
            f"{output} contains another result, {others[0]}, that would be deleted. Move it, or choose another --output"
        )


def _results_inside(output: Path) -> list[Path]:
    """Return the subfolders of ``output`` with results of other commands, which its manifest does not list."""
    if not (output / MANIFEST).is_file():
        return []
    own = read_json(output / MANIFEST)["files"]
    manifests = (file for file in output.rglob(MANIFEST) if file.parent != output)
    return [file.parent for file in manifests if file.relative_to(output).as_posix() not in own]


def replace_folder(source: Path, output: Path) -> None:
    """Rename the folder ``source`` to ``output``. An existing ``output`` is renamed first and removed at the end."""
    old = output.with_name(f".{output.name}.old-{writer_id()}")
    if output.exists():
        shutil.rmtree(old, ignore_errors=True)  # left by a killed process with the same id
        output.rename(old)
    try:
        source.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    sync(output.parent)
    remove(old)
