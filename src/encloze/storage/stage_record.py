"""Record of the started and finished stages of a pipeline, in a JSON file."""

from __future__ import annotations

from pathlib import Path

from encloze.storage.hashes import hash_file
from encloze.storage.json_files import read_json, write_json
from encloze.storage.names import MANIFEST


class StageRecord:
    """Keys of the stages of a pipeline, saved after every change.

    A stage is finished with a key that changes with its settings and inputs. While it runs, the record holds the hash
    of the manifest that its folder had before, so that an interruption between the completion of the folder and the
    update of the record is detected.

    Args:
        file: The JSON file, which may not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        saved = read_json(file) if file.is_file() else {}
        self.started: dict[str, str] = saved.get("started", {})
        """Key of each stage that was started."""
        self.done: dict[str, str] = saved.get("done", {})
        """Key of each finished stage."""
        self._manifest_before: dict[str, str] = saved.get("manifest_before", {})
        self._save()

    def start(self, name: str, key: str, folder: Path) -> None:
        """Record that a stage starts. It no longer counts as finished, because its folder may change."""
        self.started[name] = key
        self._manifest_before[name] = _manifest_hash(folder)
        self.done.pop(name, None)
        self._save()

    def has_new_output(self, name: str, folder: Path) -> bool:
        """Return whether a started stage has completed its folder since it was started."""
        return name in self._manifest_before and _manifest_hash(folder) not in ("", self._manifest_before[name])

    def finish(self, name: str, key: str) -> None:
        """Record that a stage is finished."""
        self.done[name] = key
        self._manifest_before.pop(name, None)
        self._save()

    def _save(self) -> None:
        staging = self._file.with_name(f".{self._file.name}")
        record = {"started": self.started, "done": self.done, "manifest_before": self._manifest_before}
        write_json(staging, record)
        staging.replace(self._file)


def _manifest_hash(folder: Path) -> str:
    """Return the hash of a folder's manifest, which is written last; empty if it does not exist."""
    file = folder / MANIFEST
    return hash_file(file) if file.is_file() else ""
