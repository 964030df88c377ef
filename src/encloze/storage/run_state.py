"""Work folder of an unfinished training, mining or generation run: its settings, input fingerprints and log."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError, StorageError
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.checked_json import read_checked_json, write_checked_json
from encloze.storage.disk import exists, explain_write_errors
from encloze.storage.json_files import LogEntry, read_json_log
from encloze.storage.manifest import manifest_hash
from encloze.storage.output_lock import lock_output, restore_interrupted, temporary_name
from encloze.storage.ownership import IDENTITY, OUTPUT_HASH, SETTINGS, is_work_folder


class RunState:
    """Work folder ``OUTPUT.checkpoint`` of a training, mining or generation run, from which the run can be resumed.

    The folder exists until the run is finished.

    Args:
        output: The folder that the finished run writes. The work folder is next to it.

    Example:
        >>> state = RunState(Path("model"))
        >>> state.prepare({"seed": 0}, resume=False, overwrite=False)
        >>> state.open({"corpus": "1f3a"})
        >>> state.append_log({"step": 1, "loss": 2.0})
        >>> state.delete()
    """

    def __init__(self, output: Path) -> None:
        if output.name in ("", ".."):
            refuse_existing(output, overwrite=False)
        self.output = output
        self.folder = output.with_name(f"{output.name}.checkpoint")
        self.log = self.folder / "log.jsonl"
        self._settings: dict[str, Any] = {}
        self._is_new = False

    def prepare(self, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Check that the run may start or be resumed. Nothing is written until ``open`` is called.

        Args:
            settings: The settings of the run, as JSON values. A resumed run must have the same settings.
            resume: Whether to continue the unfinished run.
            overwrite: Whether an existing output or unfinished run may be replaced.

        Raises:
            StorageError: The output or an unfinished run exists, and ``overwrite`` is false; or something is in the
                place of the work folder that encloze did not write.
            CheckpointError: There is no run to resume, or ``settings`` differ from the saved settings of the run.
        """
        if self._has_written_output():  # the process was killed before it could delete the work folder
            self.delete()
            if resume:
                raise StorageError(f"{self.output} is complete, so there is nothing to resume. Omit --resume")
        refuse_existing(self.output, overwrite=overwrite)
        is_unfinished = is_work_folder(self.folder)
        if resume and is_unfinished:
            self._check_same_settings(settings)
        elif resume:
            raise CheckpointError(f"there is no unfinished run of {self.output} to resume. Omit --resume")
        elif not is_unfinished and exists(self.folder):
            raise StorageError(
                f"{self.folder}, where the unfinished run would be saved, was not written by encloze. Move it, or "
                "choose another --output"
            )
        elif is_unfinished and not overwrite:
            raise StorageError(
                f"{self.folder} contains an unfinished run. Resume it with --resume, or start over with --overwrite"
            )
        self._settings, self._is_new = settings, not resume

    def open(self, identity: dict[str, Any]) -> None:
        """Create the work folder of a new run, or check that the inputs of a resumed run have not changed.

        It may be called again in the same run, with inputs that were not known before.

        Args:
            identity: Fingerprint of each input, keyed by the name of the input, such as ``corpus`` or ``tokenizer``.

        Raises:
            CheckpointError: The inputs of the resumed run have changed since it was started.
        """
        if self._is_new:
            self.delete()
            staging = temporary_name(self.folder, "writing")
            with explain_write_errors(self.folder):
                staging.mkdir(parents=True)
                write_checked_json(staging / SETTINGS, self._settings)
                write_checked_json(staging / IDENTITY, identity)
                staging.rename(self.folder)  # the folder appears whole or not at all
            self._is_new = False
        else:
            saved = read_checked_json(self.folder / IDENTITY)
            if changed := [name for name in identity if name in saved and saved[name] != identity[name]]:
                raise CheckpointError(
                    f"the run in {self.folder} was started with a different {', '.join(changed)}: the input files have "
                    "changed since. Restore them, or start over with --overwrite"
                )
            if identity.keys() - saved.keys():
                write_checked_json(self.folder / IDENTITY, {**saved, **identity})

    def append_log(self, entry: dict[str, Any]) -> None:
        """Append one entry as a line of JSON to ``log.jsonl``."""
        with explain_write_errors(self.folder), self.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def truncate_log(self, step: int) -> None:
        """Remove the log's incomplete last line, and the entries after ``step``: a resumed run repeats these steps."""
        if self.log.exists():
            kept = [entry for entry in read_json_log(self.log, LogEntry) if entry["step"] <= step]
            self.log.write_text("".join(f"{json.dumps(entry)}\n" for entry in kept), encoding="utf-8")

    def copy_log(self, folder: Path) -> None:
        """Copy ``log.jsonl``, if it exists, into ``folder``."""
        if self.log.exists():
            shutil.copyfile(self.log, folder / self.log.name)

    @contextlib.contextmanager
    def write_output(self, *, overwrite: bool) -> Iterator[Path]:
        """Write the output atomically (see ``atomic_folder``), then delete the work folder.

        If the process is killed between both, ``prepare`` deletes the work folder at the next start.
        """
        with atomic_folder(self.output, overwrite=overwrite, before_rename=self._record_output) as folder:
            yield folder
        self.delete()

    def delete(self) -> None:
        """Delete the work folder. It is renamed first, so that no interruption leaves a partly deleted one."""
        if is_work_folder(self.folder):
            with lock_output(self.output):  # so that the next run knows whose folder it is, if this one is killed
                deleted = temporary_name(self.folder, "old")
                self.folder.rename(deleted)
                shutil.rmtree(deleted, ignore_errors=True)

    def _record_output(self, complete: Path) -> None:
        write_checked_json(self.folder / OUTPUT_HASH, {"manifest": manifest_hash(complete)})

    def _has_written_output(self) -> bool:
        if not is_work_folder(self.folder) or not (self.folder / OUTPUT_HASH).is_file():
            return False
        restore_interrupted(self.output)
        written: str = read_checked_json(self.folder / OUTPUT_HASH)["manifest"]
        return manifest_hash(self.output) == written

    def _check_same_settings(self, settings: dict[str, Any]) -> None:
        """Raise CheckpointError if ``settings`` differ from the settings that were saved in the work folder."""
        changed = [
            f"{name} was {old!r} and is now {new!r}"
            for name, old, new in _pairs_of_values(read_checked_json(self.folder / SETTINGS), settings)
            if old != new
        ]
        if changed:
            raise CheckpointError(
                f"the run in {self.folder} was started with other settings: {'; '.join(changed)}. "
                "Resume with the same settings, or start over with --overwrite"
            )


def _pairs_of_values(saved: Any, current: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return (name, saved value, current value) for each setting. Names of nested settings are joined by dots."""
    if isinstance(saved, dict) and isinstance(current, dict):
        names = dict.fromkeys([*saved, *current])
        return [
            pair
            for name in names
            for pair in _pairs_of_values(saved.get(name), current.get(name), f"{path}.{name}".strip("."))
        ]
    return [(path, saved, current)]
