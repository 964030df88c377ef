"""Manifests: the files of a folder with their sizes and checksums, written and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from encloze.errors import CheckpointError
from encloze.storage.checked_json import is_checked_file, read_checked_json, write_checked_json
from encloze.storage.disk import sync
from encloze.storage.hashes import checksum_file, hash_file
from encloze.storage.json_files import read_json
from encloze.storage.names import EMBEDDED_ENGINE, MANIFEST, README
from encloze.storage.verified import check_once

_CHECKSUMS: dict[str, Callable[[Path], str]] = {"xxh3_128": checksum_file, "sha256": hash_file}
"""Checksums by their names in manifests. Manifests of earlier versions have SHA-256."""
_REMEDY = "Create the folder again, or restore it"

Entries = Mapping[str, Mapping[str, Any]]
"""Size (``bytes``) and checksum of each file, by its path relative to the folder."""


def write_manifest(folder: Path, *, durable: bool = True) -> None:
    """Write the manifest of a folder: the size and the checksum of each file.

    The files of an embedded search engine, which change whenever the engine is opened, are left out.

    Args:
        folder: The folder.
        durable: Whether to sync all files to disk, so that a power failure does not damage them.
    """
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    entries = {
        name: {"bytes": file.stat().st_size, "xxh3_128": checksum_file(file)}
        for name, file in files.items()
        if name not in (MANIFEST, README) and not name.startswith(f"{EMBEDDED_ENGINE}/")
    }
    write_checked_json(folder / MANIFEST, {"files": entries})
    if durable:
        for file in [*files.values(), folder / MANIFEST, *(f for f in folder.rglob("*") if f.is_dir()), folder]:
            sync(file)


def replace_entries(folder: Path, kept: Collection[str], added: Sequence[Path]) -> None:
    """Replace the manifest of a folder atomically, when all files that it names are on disk.

    Args:
        folder: The folder.
        kept: Names of the files in the manifest that stay in it.
        added: New files in the folder.
    """
    before = read_manifest(folder)
    entries = {name: dict(entry) for name, entry in before.items() if name in kept}
    folders = set[Path]()
    for file in added:
        name = file.relative_to(folder).as_posix()
        entries[name] = {"bytes": file.stat().st_size, "xxh3_128": checksum_file(file)}
        folders |= {folder / parent for parent in PurePosixPath(name).parents}
    for path in [*added, *folders]:
        sync(path)
    staging = folder / f".{MANIFEST}"
    write_checked_json(staging, {"files": dict(sorted(entries.items()))})
    sync(staging)
    staging.replace(folder / MANIFEST)
    sync(folder)


def has_manifest(folder: Path) -> bool:
    """Return whether a folder has a manifest of encloze, intact or damaged, and not that of another program."""
    if not (folder / MANIFEST).is_file():
        return False
    if is_checked_file(folder / MANIFEST):
        return True
    value = read_json(folder / MANIFEST, Any)  # of an earlier version
    return isinstance(value, dict) and bool(value.get("files")) and _are_entries(value["files"])


def read_manifest(folder: Path) -> Entries:
    """Return the entries of the manifest of a folder.

    Raises:
        CheckpointError: The manifest is missing, damaged, was not written by encloze, or names a file outside of the
            folder.
    """
    entries: Any = read_checked_json(folder / MANIFEST).get("files")
    if not _are_entries(entries):
        raise CheckpointError(
            f"{folder / MANIFEST} is damaged, or was not written by encloze: it has no list of files with sizes and "
            f"checksums. {_REMEDY}"
        )
    checked = set[str]()
    for name in entries:
        parent, _, _ = name.rpartition("/")
        # The path of a file leads to where that of its folder leads, unless the file is a symbolic link.
        if parent not in checked or not _is_plain(name) or (folder / name).is_symlink():
            check_inside(folder, name)
            checked.add(parent)
    return dict(entries)


def manifest_hash(folder: Path) -> str:
    """Return the hash of a folder's manifest, the last file to be written; empty if the folder has no manifest."""
    file = folder / MANIFEST
    return hash_file(file) if file.is_file() else ""


def check_manifest(folder: Path, *, contents: bool = False) -> None:
    """Raise CheckpointError if a file that the manifest of a folder lists is missing or has changed.

    The checksums of all files are compared. This reads the whole folder once; the result is remembered for each
    subfolder (see ``check_once``).

    Args:
        folder: A folder with a manifest.
        contents: Whether to read all files again, even if they were checked before.
    """
    entries = read_manifest(folder)
    for name, entry in entries.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is damaged: {name} is missing. {_REMEDY}")
        if (folder / name).stat().st_size != entry["bytes"]:
            raise _changed(folder, name)

    def compare(part: Entries) -> None:
        for name, entry in part.items():
            check_file(folder, name, entry)

    if contents:
        compare(entries)
        return
    parts = dict[PurePosixPath, dict[str, Mapping[str, Any]]]()
    for name, entry in entries.items():
        parts.setdefault(PurePosixPath(name).parent, {})[name] = entry
    for part in parts.values():
        check_once(f"manifest {sorted(part.items())!r}", [folder / name for name in part], partial(compare, part))


def check_file(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a file is missing, or differs from its entry in the manifest. The file is read."""
    file = folder / name
    if not file.is_file():
        raise CheckpointError(f"{folder} is damaged: {name} is missing. {_REMEDY}")
    kind = next(kind for kind in _CHECKSUMS if kind in entry)
    if file.stat().st_size != entry["bytes"] or _CHECKSUMS[kind](file) != entry[kind]:
        raise _changed(folder, name)


def check_inside(folder: Path, name: str) -> None:
    """Raise CheckpointError if ``name`` is not a relative path of something inside of a folder.

    Symbolic links may lead to another place in the folder. In the cache of the Hugging Face hub, where every file is a
    link, they may also lead to the files of the same model.
    """
    message = f"{folder} is damaged: the path {name!r} leads out of the folder. {_REMEDY}"
    if not _is_plain(name):
        raise CheckpointError(message)
    real, root = (folder / name).resolve(), folder.resolve()
    of_hub = root.parent.name == "snapshots" and real.is_relative_to(root.parents[1] / "blobs")
    if not (real.is_relative_to(root) or of_hub):
        raise CheckpointError(message)


def _is_plain(name: str) -> bool:
    """Return whether a text is a relative path without ``..`` and without characters that other systems interpret."""
    parts = name.split("/")
    has_drive = os.name == "nt" and bool(Path(name).drive)
    return (
        bool(name.strip("./"))
        and parts[0] != ""
        and ".." not in parts
        and not set("\\\0") & set(name)
        and not has_drive
    )


def _changed(folder: Path, name: str) -> CheckpointError:
    return CheckpointError(f"{folder} is damaged: {name} has changed since it was written. {_REMEDY}")


def _are_entries(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and any(isinstance(entry.get(kind), str) for kind in _CHECKSUMS)
        for entry in value.values()
    )
