"""The ends of a training run: what is checked before it begins, and the folder it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from encloze import recipe
from encloze.models.checkpoint import model_card
from encloze.reporting.cards import trained
from encloze.settings import plain
from encloze.storage.atomic import atomic_folder
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance
from encloze.training.state import Unfinished

_FILES = {"`log.jsonl`, `monitors.jsonl`": "its losses, and what the monitors saw if there were any, step by step"}


def begin(task: Any) -> Unfinished:
    """The unfinished run of a training task (one with output, resume and overwrite), new or found again."""
    processes, state = PartialState(), Unfinished(task.output)
    if processes.is_main_process:
        same = {name: value for name, value in plain(task).items() if name not in ("resume", "overwrite", "type")}
        state.begin(same, resume=task.resume, overwrite=task.overwrite)
    processes.wait_for_everyone()
    return state


def finish(
    task: Any,
    state: Unfinished,
    write: Callable[[Path], None],
    how: str,
    inputs: Mapping[str, Path | str | None],
    purpose: str = "feature-extraction",
) -> None:
    """Write the model folder: ``write`` puts the model in it, ``how`` says in a few words how it was made.

    ``purpose`` is what the Hugging Face hub calls the model's task.
    """
    processes = PartialState()
    if processes.is_main_process:
        with atomic_folder(task.output, overwrite=task.overwrite) as folder:
            write(folder)
            state.finish(folder)
            card = model_card(task.output.name, f"{how} by encloze", _FILES, purpose)
            (folder / README).write_text(card + trained(folder), encoding="utf-8")
            write_provenance(folder, recipe.dump(replace(task, resume=False), {"verb": task.name}), inputs)
        state.discard()
    processes.wait_for_everyone()
