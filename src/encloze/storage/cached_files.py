"""Files and folders in the cache that are written once, and written again if they are damaged."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from encloze import progress
from encloze.errors import CheckpointError
from encloze.storage.disk import explain_write_errors, remove, writer_id
from encloze.storage.hashes import checksum_file
from encloze.storage.locks import hold, remove_abandoned
from encloze.storage.manifest import check_manifest, write_manifest
from encloze.storage.verified import check_once


def cached_file(file: Path, write: Callable[[Path], object]) -> Path:
    """Return a file of the cache, which is written first if it is missing or damaged.

    Its checksum is in another file, ``FILE.xxh3_128``. Several processes may write the same file; the last one is kept.

    Args:
        file: The file, in a subfolder of the cache.
        write: Function that writes the content to the path that it gets. The path ends with the name of ``file``.

    Raises:
        StorageError: The disk is full.
    """
    if not is_intact(file):
        if file.exists():
            _discard(file)
        with staging_folder(file) as staging:
            write(staging / file.name)
            store_with_checksum(staging / file.name, file)
    return file


def cached_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Return a folder of the cache, which is written first if it is missing or damaged.

    Its checksums are in its manifest. If several processes write the same folder, the first one is kept.

    Args:
        folder: The folder, in a subfolder of the cache.
        write: Function that writes the content into the existing empty folder that it gets.

    Raises:
        StorageError: The disk is full.
    """
    if not _is_intact_folder(folder):
        with staging_folder(folder) as staging:
            write(staging)
            write_manifest(staging, durable=False)
            try:
                staging.rename(folder)
            except OSError:  # another process was faster
                if not _is_intact_folder(folder):
                    raise
    return folder


def has_checksum(file: Path) -> bool:
    """Return whether a file and its checksum, as ``store_with_checksum`` wrote them, exist."""
    return file.is_file() and _checksum_path(file).is_file()


def is_intact(file: Path) -> bool:
    """Return whether a file that ``store_with_checksum`` wrote exists and has not changed (see ``check_once``)."""
    try:
        checksum = _checksum_path(file).read_text(encoding="utf-8", errors="replace")
        check_once(f"checksum {checksum}", [file], lambda: _compare(file, checksum))
    except (CheckpointError, FileNotFoundError):
        return False
    return True


def store_with_checksum(source: Path, file: Path) -> None:
    """Move a file to its place in the cache, after its checksum has been stored beside that place."""
    checksum = _checksum_path(source)
    checksum.write_text(checksum_file(source), encoding="utf-8")
    checksum.replace(_checksum_path(file))
    source.replace(file)


@contextlib.contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Create a temporary folder beside a file or folder of the cache. Those of killed processes are removed."""
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent.glob(".*"))
        staging = target.with_name(f".{target.name}.writing-{writer_id()}")
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed process with the same id
        staging.mkdir()
        try:
            with hold(staging):
                yield staging
        finally:
            remove(staging)


def _compare(file: Path, checksum: str) -> None:
    if checksum_file(file) != checksum:
        raise CheckpointError(f"{file} is damaged")


def _is_intact_folder(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        check_manifest(folder)
    except CheckpointError:
        _discard(folder)
        return False
    return True


def _discard(path: Path) -> None:
    progress.note(f"{path} in the cache is damaged or was written by an earlier version. It is computed again")
    remove(path)


def _checksum_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.xxh3_128")
