"""Copies of files that are in an object store or on a web server, in the cache."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from encloze import progress
from encloze.errors import DataError, importable
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import is_intact, staging_folder, store_with_checksum
from encloze.storage.disk import remove
from encloze.storage.hashes import hash_of

_CHUNK = 2**23  # bytes read at a time


def is_remote(location: str) -> bool:
    """Return whether a location is an address such as ``s3://bucket/texts`` or ``https://host/texts.jsonl``."""
    return "://" in location


@functools.cache
def local_copy(url: str) -> Path:
    """Return a copy of a remote file, or of a folder with all files below it, in the cache.

    Files are copied piece by piece, so memory is not a limit. Those that were copied before are not copied again unless
    they have changed, which is looked up once per process. An interrupted copy continues with the next file.

    Args:
        url: An address that the package fsspec knows: ``s3://``, ``gs://``, ``az://``, ``hf://``, ``https://`` ...

    Raises:
        DataError: There is nothing at this address, or it cannot be read.
        MissingExtraError: fsspec is not installed.
        StorageError: The disk is full.
    """
    core = importable("fsspec.core", "remote")
    try:
        files, root = core.url_to_fs(url)
        found = {root: files.info(root)} if files.isfile(root) else files.find(root, detail=True)
    except Exception as error:  # each file system raises its own
        raise _unreadable(url, error) from error
    infos = {path: info for path, info in found.items() if info["type"] == "file"}
    if not infos:
        raise DataError(f"{url}: there is no such file or folder, or the folder is empty")
    folder = cache_folder() / "remote" / hash_of(url)[:32]
    target = folder / (PurePosixPath(root).name or "files")
    for path, info in sorted(infos.items()):
        relative = PurePosixPath(path).relative_to(root) if path != root else PurePosixPath()
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(f"{url}: the name {path} leads out of the folder")
        _copy(files, path, info, target / relative, url)
    _remove_others(target, {target / PurePosixPath(path).relative_to(root) for path in infos})
    return target


def _copy(files: Any, path: str, info: dict[str, Any], target: Path, url: str) -> None:
    """Copy a file unless it was copied before and has not changed."""
    version, state = target.with_name(f".{target.name}.version"), hash_of(str(sorted(info.items())))
    if version.is_file() and version.read_text(encoding="utf-8") == state and is_intact(target):
        return
    size = info.get("size")
    with staging_folder(target) as staging, progress.task(f"Copying {url}", size, "bytes") as bar:
        copied = staging / target.name
        with copied.open("wb") as stream:
            for piece in _pieces(files, path, url):
                stream.write(piece)
                bar.advance(len(piece))
        if size is not None and copied.stat().st_size != size:
            raise DataError(f"{url}: {path} has {size:,} bytes, but only {copied.stat().st_size:,} could be read")
        version.unlink(missing_ok=True)
        store_with_checksum(copied, target)
    version.write_text(state, encoding="utf-8")


def _pieces(files: Any, path: str, url: str) -> Iterator[bytes]:
    """Yield the content of a remote file."""
    try:
        with files.open(path, "rb") as source:
            while piece := source.read(_CHUNK):
                yield piece
    except Exception as error:  # each file system raises its own
        raise _unreadable(url, error) from error


def _remove_others(target: Path, kept: set[Path]) -> None:
    """Remove copies of files that no longer exist."""
    for file in target.rglob("*") if target.is_dir() else ():
        name = file.name.removesuffix(".xxh3_128").removeprefix(".").removesuffix(".version")
        if file.is_file() and file not in kept and file.with_name(name) not in kept:
            remove(file)


def _unreadable(url: str, error: Exception) -> DataError:
    protocol = url.partition("://")[0]
    remedy = f". Install the package that reads {protocol}:// addresses" if isinstance(error, ImportError) else ""
    return DataError(f"{url} cannot be read: {type(error).__name__}: {error}{remedy}")
