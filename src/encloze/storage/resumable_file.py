"""Text files that are written in batches and resumed after the last complete batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, TypedDict

from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json


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

    def __init__(self, stream: TextIO, progress_file: Path, num_done: int) -> None:
        self.stream, self.num_done, self._progress_file = stream, num_done, progress_file

    def commit(self, num_items: int) -> None:
        """Record that the text written since the last commit contains ``num_items`` complete items."""
        self.stream.flush()
        self.num_done += num_items
        staging = self._progress_file.with_name(f"{self._progress_file.name}.new")
        write_json(staging, {"items": self.num_done, "bytes": self.stream.tell()})
        staging.replace(self._progress_file)


@contextlib.contextmanager
def open_resumable_file(file: Path) -> Iterator[ResumableFile]:
    """Open a text file that is renamed to its final name when the block ends without an exception.

    Until then the text is in ``FILE.partial``, and ``FILE.progress`` records the last call of ``commit``. When the file
    is opened again after an interruption, text after the last commit is removed. If ``commit`` is called after each
    batch, the batches consist of the same items as without the interruption, and results that depend on the batch are
    the same.

    Args:
        file: File to write.

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
    if partial.exists() and progress_file.exists():
        progress = read_json(progress_file, _Progress)
        if partial.stat().st_size >= progress["bytes"]:  # else text was lost, for example in a power failure
            num_done, size = progress["items"], progress["bytes"]
    with explain_write_errors(file), partial.open("r+" if size else "w", encoding="utf-8", newline="\n") as stream:
        stream.seek(size)
        stream.truncate()
        yield ResumableFile(stream, progress_file, num_done)
    partial.replace(file)
    progress_file.unlink(missing_ok=True)
