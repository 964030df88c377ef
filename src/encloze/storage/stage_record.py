"""Record of the started and finished stages of a pipeline, in a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from encloze.storage.checked_json import read_checked_json, write_checked_json
from encloze.storage.manifest import manifest_hash

RECORD_FILE = "stages.json"
"""Name of the record in the folder of a pipeline."""


class _Record(TypedDict, total=False):
    started: dict[str, str]
    done: dict[str, str]
    manifest_before: dict[str, str]


class StageRecord:
    """Record of the started and finished stages of a pipeline, saved in a JSON file after every change.

    The key of a stage is a hash of its settings and inputs. When a stage starts and its folder already has a manifest,
    written by an earlier run of the pipeline, the hash of that manifest is saved, too. If the process is killed after
    the stage has written its folder but before it is recorded as finished, the changed hash of the manifest shows that
    the stage wrote the folder.

    Args:
        file: The JSON file, which may not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        saved = read_checked_json(file, _Record) if file.is_file() else {}
        self.started: dict[str, str] = saved.get("started", {})
        """Key of each stage that was started."""
        self.done: dict[str, str] = saved.get("done", {})
        """Key of each finished stage."""
        self._manifest_before: dict[str, str] = saved.get("manifest_before", {})
        self._save()

    def start(self, name: str, key: str, folder: Path) -> None:
        """Record that a stage starts. A stage that was recorded as finished is no longer recorded as finished."""
        self.started[name] = key
        self._manifest_before[name] = manifest_hash(folder)
        self.done.pop(name, None)
        self._save()

    def has_new_output(self, name: str, folder: Path) -> bool:
        """Return whether the folder of a stage was completely written after the stage started."""
        return name in self._manifest_before and manifest_hash(folder) not in ("", self._manifest_before[name])

    def finish(self, name: str, key: str) -> None:
        """Record that a stage is finished."""
        self.done[name] = key
        self._manifest_before.pop(name, None)
        self._save()

    def _save(self) -> None:
        record = {"started": self.started, "done": self.done, "manifest_before": self._manifest_before}
        write_checked_json(self._file, record)
