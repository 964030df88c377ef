"""Ledgers: a folder with one file per finished shard, from which interrupted work resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from encloze.errors import StorageError
from encloze.storage.disk import explain_write_errors, writer_id

T = TypeVar("T")


class Ledger(Generic[T]):
    """Stored results of the shards of a job, in a folder whose name identifies the job.

    A result is written to a temporary file first and renamed, so a file of the ledger is complete. Several processes
    may write the same shard: their results are equal, and the last write is kept.
    """

    def __init__(
        self, folder: Path, suffix: str, write: Callable[[T, Path], None], read: Callable[[Path], T], item: str
    ) -> None:
        """Initialize the ledger.

        Args:
            folder: The folder of the results; created if it does not exist.
            suffix: File name extension of a result, such as ``.npz``. The file passed to ``write`` has it, too.
            write: Writes a result to a file.
            read: Reads a result. Any exception it raises means that the file is damaged.
            item: Name of the items of a shard, for messages, such as ``documents``.
        """
        self.folder, self._suffix, self._write, self._read, self._item = folder, suffix, write, read, item
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, shard: int) -> Path:
        """Return the file of a shard, whether or not it exists."""
        return self.folder / f"{shard:06}{self._suffix}"

    def has(self, shard: int) -> bool:
        """Return whether the result of a shard is stored."""
        return self.path(shard).is_file()

    def store(self, shard: int, result: T) -> None:
        """Store the result of a shard. Raises StorageError if the disk is full."""
        path = self.path(shard)
        partial = path.with_name(f".{path.stem}.{writer_id()}{self._suffix}")
        try:
            with explain_write_errors(path):
                self._write(result, partial)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, shard: int) -> T:
        """Read the result of a shard. Raises StorageError if the file is damaged."""
        path = self.path(shard)
        try:
            return self._read(path)
        except Exception as error:  # numpy, zipfile and others each raise their own
            raise StorageError(
                f"{path} is damaged ({error}). Remove the file; the {self._item} in it are then computed again"
            ) from error
