"""Manifests: the files of a folder with their sizes and hashes, written and checked."""

from __future__ import annotations

from pathlib import Path

from encloze.errors import CheckpointError
from encloze.storage.disk import sync
from encloze.storage.hashes import hash_file
from encloze.storage.json_files import read_json, write_json
from encloze.storage.names import MANIFEST, README


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder (size and SHA-256 of each file) and sync all files to disk."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    entries = {
        name: {"bytes": file.stat().st_size, "sha256": hash_file(file)}
        for name, file in files.items()
        if name not in (MANIFEST, README)
    }
    write_json(folder / MANIFEST, {"files": entries})
    for file in [*files.values(), folder / MANIFEST, *(f for f in folder.rglob("*") if f.is_dir()), folder]:
        sync(file)


def check_manifest(folder: Path, *, contents: bool = False) -> None:
    """Raise CheckpointError if a file that the manifest of a folder lists is missing or has changed.

    Args:
        folder: A folder with a manifest.
        contents: Whether to compare hashes too, which reads every file; otherwise only sizes are compared.
    """
    for name, entry in read_json(folder / MANIFEST)["files"].items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder} is damaged: {name} is missing. Create the folder again, or restore it")
        if file.stat().st_size != entry["bytes"] or (contents and hash_file(file) != entry["sha256"]):
            raise CheckpointError(
                f"{folder} is damaged: {name} has changed since it was written. Create the folder again, or restore it"
            )
