"""Verify a folder that encloze wrote: checksums, arrays, documents, weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError, safe_open

from encloze.commands.base import Command
from encloze.data.runs import RUN_FILE, read_run
from encloze.errors import CheckpointError, EnclozeError
from encloze.retrieval.engine_index import connect, read_engine_state
from encloze.retrieval.index_folder import (
    current_state,
    is_index,
    open_documents,
    open_fields,
    open_view,
    stored_engine,
    view_entries,
)
from encloze.storage.checked_json import is_checked_file, read_checked_json
from encloze.storage.manifest import check_file, has_manifest, read_manifest
from encloze.storage.names import MANIFEST
from encloze.storage.output_lock import restore_interrupted
from encloze.storage.ownership import IDENTITY, OUTPUT_HASH, SETTINGS
from encloze.storage.stage_record import RECORD_FILE
from encloze.storage.verified import check_again
from encloze.tables import Column, Kind, Table

_CHECKSUMMED_FILES = (SETTINGS, IDENTITY, OUTPUT_HASH, RECORD_FILE)
_MAX_NAMED = 5


@dataclass(frozen=True)
class FolderCheck:
    """Result of the verification of one folder with a manifest, or of one file with its own checksum."""

    path: Path
    files: int
    """Number of files that were read."""
    bytes: int
    """Their total size."""
    checks: tuple[str, ...]
    """What was checked, such as checksums and arrays."""
    faults: tuple[str, ...]
    """What is damaged, with the names of the files; empty if nothing is."""


@dataclass(frozen=True)
class Verification:
    """Result of ``verify``."""

    folder: Path
    checks: tuple[FolderCheck, ...]
    unchecked: tuple[str, ...]
    """Files that no manifest lists, such as README.md."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that is damaged; empty if the folder is intact."""
        return tuple(fault for check in self.checks for fault in check.faults)

    @property
    def has_failed(self) -> bool:
        """Whether something is damaged. The command line then ends with the exit code 1."""
        return bool(self.faults)

    def table(self) -> Table:
        """Return a table of what was checked."""
        columns = [Column("folder or file", Kind.TEXT), Column("files", Kind.COUNT), Column("bytes", Kind.COUNT)]
        rows = [
            (str(c.path), c.files, c.bytes, ", ".join(c.checks), "damaged" if c.faults else "intact")
            for c in self.checks
        ]
        return Table("", (*columns, Column("checked", Kind.TEXT), Column("result", Kind.TEXT)), tuple(rows))

    def notes(self) -> list[str]:
        """Return what is damaged, and the files that could not be checked."""
        notes = [f"Damaged: {fault}" for fault in self.faults]
        if self.unchecked:
            more = ", ..." * (len(self.unchecked) > _MAX_NAMED)
            names = f"{', '.join(self.unchecked[:_MAX_NAMED])}{more}"
            notes.append(f"Not checked, because no manifest lists them: {len(self.unchecked)} files ({names})")
        return notes


@dataclass(frozen=True)
class Verify(Command, name="verify"):
    """Verify a folder that encloze wrote: an index, a model, a result, a pipeline, or an unfinished run.

    Every file is read and compared with its checksum, even if that was done before. The arrays and documents of
    indexes, the headers of weights, and run files are checked, too. If something is damaged, the exit code is 1.

    Example:
        >>> Verify(folder="index").run().faults
        ()
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path
    """Folder to verify. Folders with results inside of it are verified, too."""

    def run(self) -> Verification:
        """Verify the folder.

        Raises:
            CheckpointError: The folder does not exist, or contains nothing that encloze wrote.
        """
        restore_interrupted(self.folder)
        if not self.folder.is_dir():
            raise CheckpointError(f"{self.folder} is not a folder. Name a folder that encloze wrote")
        manifests = sorted(file.parent for file in self.folder.rglob(MANIFEST) if has_manifest(file.parent))
        checksummed = [
            file for name in _CHECKSUMMED_FILES for file in sorted(self.folder.rglob(name)) if is_checked_file(file)
        ]
        with check_again():
            checks = [*map(_check_folder, manifests), *map(_check_checksummed, checksummed)]
        if not checks:
            raise CheckpointError(
                f"{self.folder} contains nothing that encloze wrote: there is no {MANIFEST} of encloze. Name the "
                "output of a command"
            )
        return Verification(self.folder, tuple(checks), tuple(_unchecked(self.folder, manifests, checksummed)))


def _unchecked(folder: Path, manifests: list[Path], checksummed: list[Path]) -> Iterator[str]:
    """Yield the files in a folder that neither a manifest lists nor a checksum of their own protects."""
    known = {*checksummed, *(of_result / MANIFEST for of_result in manifests)}
    for of_result in manifests:
        with contextlib.suppress(CheckpointError):  # it is reported as damaged
            known |= {of_result / name for name in read_manifest(of_result)}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file not in known:
            yield file.relative_to(folder).as_posix()


def _check_folder(folder: Path) -> FolderCheck:
    try:
        entries = read_manifest(folder)
    except CheckpointError as error:
        return FolderCheck(folder, 1, 0, ("manifest",), (str(error),))
    checks: dict[str, list[Callable[[], object]]] = {
        "checksums": [partial(check_file, folder, name, entry) for name, entry in entries.items()]
    }
    if is_index(folder):
        checks["arrays and documents"] = [partial(_check_index, folder)]
    if weights := sorted(folder.glob("*.safetensors")):
        checks["weights"] = [partial(_check_weights, file) for file in weights]
    if (folder / RUN_FILE).is_file():
        checks["run"] = [partial(read_run, folder / RUN_FILE, may_be_empty=True)]
    faults = dict.fromkeys(fault for some in checks.values() for check in some for fault in _faults(check))
    return FolderCheck(folder, len(entries), sum(e["bytes"] for e in entries.values()), tuple(checks), tuple(faults))


def _check_index(folder: Path) -> None:
    if stored := stored_engine(folder):
        read_engine_state(folder, view_entries(folder))
        connect(folder, stored, view_entries(folder)).close()
        return
    for entry in view_entries(folder):
        open_view(folder, entry)
    open_documents(folder)
    open_fields(folder, current_state(folder))


def _check_weights(file: Path) -> None:
    try:
        with safe_open(file, framework="numpy"):
            return
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} is damaged: {error}. Restore the file") from error


def _check_checksummed(file: Path) -> FolderCheck:
    return FolderCheck(file, 1, file.stat().st_size, ("checksum",), tuple(_faults(partial(read_checked_json, file))))


def _faults(check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except EnclozeError as error:
        yield str(error)
