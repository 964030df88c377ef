"""Atomic creation of folders."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from encloze.errors import StorageError
from encloze.storage.disk import explain_write_errors, remove, sync
from encloze.storage.manifest import write_manifest
from encloze.storage.output_lock import check_path, lock_output, remove_leftovers, temporary_name
from encloze.storage.ownership import check_removable


@contextlib.contextmanager
def atomic_folder(
    output: Path, *, overwrite: bool = False, before_rename: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Write a folder atomically: ``output`` appears only after all of its files are written.

    The ``with`` block writes into a temporary folder next to ``output``. When the block ends without an error, the
    temporary folder gets a manifest, is synced to disk and renamed to ``output``. After an error the temporary folder
    is removed, and an older ``output`` is unchanged. Meanwhile ``output`` is locked (see ``lock_output``).

    Args:
        output: The folder to write.
        overwrite: Whether a folder that encloze wrote may be replaced.
        before_rename: Function that is called with the temporary folder when it is complete.

    Yields:
        The temporary folder.

    Raises:
        StorageError: ``output`` exists, another process is writing it, or the disk is full.

    Example:
        >>> with atomic_folder(Path("result")) as folder:
        ...     _ = (folder / "figures.json").write_text("{}")
    """
    refuse_existing(output, overwrite=overwrite)
    with lock_output(output), explain_write_errors(output):
        refuse_existing(output, overwrite=overwrite)  # the process that had locked it may have written it
        staging = temporary_name(output, "writing")
        try:
            staging.mkdir()
            yield staging
            write_manifest(staging)
            if before_rename:
                before_rename(staging)
            refuse_existing(output, overwrite=overwrite)  # somebody may have written into it meanwhile
            replace_folder(staging, output)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise StorageError if a folder ``output`` cannot be created, or if it exists and must not be replaced.

    Even with ``overwrite``, only folders that encloze wrote (see ``check_removable``) and empty folders are replaced.
    """
    check_path(output)
    remove_leftovers(output)
    if (output.exists() or output.is_symlink()) and not overwrite:
        raise StorageError(f"{output} exists already. Choose another --output, or give --overwrite to replace it")
    if output.exists() or output.is_symlink():
        check_removable(output)


def replace_folder(source: Path, output: Path) -> None:
    """Rename the folder ``source`` to ``output``. An existing ``output`` is renamed first and removed at the end."""
    old = temporary_name(output, "old")
    if output.exists():
        output.rename(old)
    try:
        source.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    sync(output.parent)
    remove(old)
