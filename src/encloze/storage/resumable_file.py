"""Text files that are written in batches and resumed after the last complete batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, TypedDict

import xxhash

from encloze.errors import CheckpointError
from encloze.storage.cached_files import has_checksum, is_intact, store_with_checksum
from encloze.storage.checked_json import read_checked_json, write_checked_json
from encloze.storage.disk import explain_write_errors


class _Progress(TypedDict):
    items: int
    bytes: int


class ResumableFile:
    """The open file that ``open_resumable_file`` yields.

    Args:
        stream: The opened text file.
        progress_file: JSON file with the number of committed items and bytes.
        num_done: Number of items that were written and committed.
    """

    def __init__(self, stream: TextIO, progress_file: Path, num_done: int, checksum: xxhash.xxh3_128) -> None:
        self.stream, self.num_done, self._progress_file, self._checksum = stream, num_done, progress_file, checksum
        self._num_bytes = stream.tell()

    def commit(self, num_items: int) -> None:
        """Record that the text written since the last commit contains ``num_items`` complete items."""
        self.stream.flush()
        self.num_done += num_items
        with Path(self.stream.name).open("rb") as written:
            written.seek(self._num_bytes)
            self._checksum.update(written.read())
        self._num_bytes = self.stream.tell()
        record = {"items": self.num_done, "bytes": self._num_bytes, "checksum": self._checksum.hexdigest()}
        write_checked_json(self._progress_file, record)


def is_complete(file: Path) -> bool:
    """Return whether ``open_resumable_file`` has completed a file.

    Raises:
        CheckpointError: The file has changed since.
    """
    if has_checksum(file) and not is_intact(file):
        raise _damaged(file)
    return file.exists()


@contextlib.contextmanager
def open_resumable_file(file: Path) -> Iterator[ResumableFile]:
    """Open a text file that is renamed to its final name when the block ends without an exception.

    Until then the text is in ``FILE.partial``, and ``FILE.progress`` records the last call of ``commit``. When the file
    is opened again after an interruption, text after the last commit is removed. If ``commit`` is called after each
    batch, the batches consist of the same items as without the interruption, and results that depend on the batch are
    the same.

    Args:
        file: File to write.

    Raises:
        CheckpointError: The committed text has changed since it was written.

    Yields:
        The open file. Its ``num_done`` is the number of items that were committed before the interruption, otherwise 0.

    Example:
        >>> with open_resumable_file(Path("squares.txt")) as file:
        ...     for number in range(file.num_done, 100):
        ...         file.stream.write(f"{number**2}\\n")
        ...         file.commit(1)
    """
    partial, progress_file = file.with_name(f"{file.name}.partial"), file.with_name(f"{file.name}.progress")
    num_done = size = 0
    checksum = xxhash.xxh3_128()
    if partial.exists() and progress_file.exists():
        progress = read_checked_json(progress_file, _Progress)
        if partial.stat().st_size >= progress["bytes"]:  # else text was lost, for example in a power failure
            num_done, size = progress["items"], progress["bytes"]
            checksum.update(_read_bytes(partial, size))
            if checksum.hexdigest() != progress.get("checksum", checksum.hexdigest()):
                raise _damaged(partial)
    with explain_write_errors(file), partial.open("r+" if size else "w", encoding="utf-8", newline="\n") as stream:
        stream.seek(size)
        stream.truncate()
        yield ResumableFile(stream, progress_file, num_done, checksum)
    store_with_checksum(partial, file)
    progress_file.unlink(missing_ok=True)


def _read_bytes(file: Path, size: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(size)


def _damaged(file: Path) -> CheckpointError:
    return CheckpointError(f"{file} is damaged: its checksum differs from its content. Start over with --overwrite")
