"""Start of resumable commands: checking the output and the work folder."""

from __future__ import annotations

from typing import Any

from encloze.settings import plain
from encloze.storage.run_state import RunState


def begin_run(command: Any) -> RunState:
    """Return the work folder of a command, after checking that its run can be started or resumed.

    Args:
        command: A command with the settings output, resume and overwrite.

    Raises:
        StorageError: The output or an unfinished run exists, and ``overwrite`` is false.
        CheckpointError: There is no unfinished run to resume, or it was started with other settings.
        MissingExtraError: An experiment tracker is not installed.
    """
    state, processes = RunState(command.output), None
    if hasattr(command, "training"):  # other commands run in one process, and may not need torch
        from accelerate import PartialState

        from encloze.training.optimizer_step import available_trackers

        available_trackers(command.training)
        processes = PartialState()
    if processes is None or processes.is_main_process:
        ignored = ("resume", "overwrite", "execution", "type")
        settings = {name: value for name, value in plain(command).items() if name not in ignored}
        state.prepare(settings, resume=command.resume, overwrite=command.overwrite)
    if processes:
        processes.wait_for_everyone()
    return state
