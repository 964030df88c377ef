"""Proof that encloze wrote a folder, without which no folder is removed or replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from encloze.errors import CheckpointError, StorageError
from encloze.storage.manifest import has_manifest, read_manifest
from encloze.storage.names import EMBEDDED_ENGINE, MANIFEST, README

SETTINGS, IDENTITY, OUTPUT_HASH = "recipe.json", "identity.json", "output.json"
"""Files of a work folder ``OUTPUT.checkpoint``: settings of the run, fingerprints of its inputs, and the hash of the
output's manifest, which is written immediately before the output appears."""

_OF_DESKTOPS = (".DS_Store", "desktop.ini")


def check_removable(folder: Path, own_files: Collection[str] = ()) -> None:
    """Raise StorageError unless encloze wrote everything in a folder.

    That is so if the folder is empty, or has a manifest that lists all of its files. A README.md may be there, too,
    which users may write.

    Args:
        folder: The folder.
        own_files: Files that a command writes into ``folder`` itself. If given, the folder needs no manifest, and may
            contain result folders and the work folders of unfinished runs.
    """
    remedy = "Choose another --output, or remove it yourself"
    if folder.is_symlink():
        raise StorageError(f"{folder} is a symbolic link and is not overwritten. Name the folder that it leads to")
    is_own = folder.is_dir() and (bool(own_files) or has_manifest(folder) or not any(folder.iterdir()))
    if not is_own:
        raise StorageError(f"{folder} was not written by encloze and is not overwritten. {remedy}")
    try:
        foreign = next(_foreign_files(folder, own_files), None)
    except CheckpointError as error:
        raise StorageError(f"{folder} is not overwritten, because it cannot be checked: {error}. {remedy}") from error
    if foreign is None:
        return
    result = next((parent for parent in foreign.parents if parent != folder and has_manifest(parent)), folder)
    if result.is_relative_to(folder) and result != folder:
        raise StorageError(
            f"{folder} contains another result, {result}, that would be deleted. Move it, or choose another --output"
        )
    raise StorageError(
        f"{folder} contains {foreign.relative_to(folder)}, which encloze did not write and which would be deleted. "
        "Move it, or choose another --output"
    )


def is_removable(folder: Path) -> bool:
    """Return whether encloze wrote everything in a folder (see ``check_removable``)."""
    try:
        check_removable(folder)
    except StorageError:
        return False
    return True


def is_work_folder(folder: Path) -> bool:
    """Return whether a folder is the work folder of an unfinished run (see ``RunState``)."""
    return not folder.is_symlink() and all((folder / name).is_file() for name in (SETTINGS, IDENTITY))


def _foreign_files(folder: Path, own_files: Collection[str]) -> Iterator[Path]:
    """Yield the files in a folder that are neither in its manifest nor in ``own_files`` (see ``check_removable``)."""
    listed = {*own_files, README, MANIFEST, *(read_manifest(folder) if has_manifest(folder) else ())}
    folders = [folder]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path == folder / EMBEDDED_ENGINE and "index.json" in listed:
                continue  # files of the search engine, which no manifest lists
            if path.is_dir() and not path.is_symlink():
                if not own_files or not (has_manifest(path) or is_work_folder(path)):
                    folders.append(path)
                elif has_manifest(path):
                    yield from _foreign_files(path, ())
            elif path.relative_to(folder).as_posix() not in listed and path.name not in _OF_DESKTOPS:
                yield path
