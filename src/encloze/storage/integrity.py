"""Check of the folders that encloze wrote, before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from encloze.storage.manifest import check_file, check_manifest, has_manifest, read_manifest
from encloze.storage.output_lock import restore_interrupted


def check_if_result(path: Path, only: Sequence[str] = ()) -> None:
    """If a folder, or the folder of a file, has a manifest of encloze, check its files (see ``check_manifest``).

    If the folder is missing because a process was killed while it replaced it, the old folder is restored first.

    Args:
        path: The folder or file.
        only: Names of the files to check; by default all files are checked.

    Raises:
        CheckpointError: A file of the folder is missing or has changed since it was written.
    """
    restore_interrupted(path)
    folder = path if path.is_dir() else path.parent
    if not has_manifest(folder):
        return
    if not only:
        check_manifest(folder)
    entries = read_manifest(folder) if only else {}
    for name in only:
        if name in entries:
            check_file(folder, name, entries[name])
