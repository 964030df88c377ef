"""Check of the folders that encloze wrote, before they are read."""

from __future__ import annotations

from pathlib import Path

from encloze.storage.manifest import check_manifest, has_manifest
from encloze.storage.output_lock import restore_interrupted


def check_if_result(path: Path) -> None:
    """If a folder, or the folder of a file, has a manifest of encloze, check its files (see ``check_manifest``).

    If the folder is missing because a process was killed while it replaced it, the old folder is restored first.

    Raises:
        CheckpointError: A file of the folder is missing or has changed since it was written.
    """
    restore_interrupted(path)
    folder = path if path.is_dir() else path.parent
    if has_manifest(folder):
        check_manifest(folder)
