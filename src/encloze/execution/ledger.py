"""Ledgers: folders with one file per finished shard of a job, from which an interrupted job resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from encloze.errors import StorageError
from encloze.storage.cached_files import has_checksum, is_intact, staging_folder, store_with_checksum

T = TypeVar("T")


class Ledger(Generic[T]):
    """Results of the finished shards of a job, stored in a folder whose name identifies the job.

    A result is written to a temporary file first and renamed, so every result file is complete. Its checksum is stored
    beside it. Several processes
    may write the same shard: their results are equal, and the last write is kept.
    """

    def __init__(
        self, folder: Path, suffix: str, write: Callable[[T, Path], None], read: Callable[[Path], T], item: str
    ) -> None:
        """Open the ledger in a folder.

        Args:
            folder: The folder that contains the results; created if it does not exist.
            suffix: File name extension of the result files, such as ``.npz``. Paths passed to ``write`` end with it.
            write: Function that writes a result to a file.
            read: Function that reads a result from a file. Any exception means that the file is damaged.
            item: What the shards contain, for error messages, such as ``documents``.
        """
        self.folder, self._suffix, self._write, self._read, self._item = folder, suffix, write, read, item
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, shard: int) -> Path:
        """Return the path of the result file of a shard, whether or not the file exists."""
        return self.folder / f"{shard:06}{self._suffix}"

    def has(self, shard: int) -> bool:
        """Return whether the result of a shard is stored, by this version of encloze."""
        return has_checksum(self.path(shard))

    def store(self, shard: int, result: T) -> None:
        """Store the result of a shard. Raises StorageError if the disk is full."""
        path = self.path(shard)
        with staging_folder(path) as staging:
            self._write(result, staging / path.name)
            store_with_checksum(staging / path.name, path)

    def load(self, shard: int) -> T:
        """Read the result of a shard. Raises StorageError if the file is damaged."""
        path = self.path(shard)
        try:
            if not is_intact(path):
                raise ValueError("its checksum differs from its content")
            return self._read(path)
        except Exception as error:  # numpy, zipfile and others each raise their own
            raise StorageError(
                f"{path} is damaged ({error}). Remove the file; the {self._item} in it are then computed again"
            ) from error
