"""End of trainings: writing the model folder, with its card and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from encloze import progress, recipe
from encloze.escapes import markdown
from encloze.models.card import PipelineTag, model_card
from encloze.reporting.training_logs import model_card_section
from encloze.reporting.verdicts import EFFECT_FILE, Verdict, training_verdict
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance
from encloze.storage.run_state import RunState

_EFFECT_FILE = {f"`{EFFECT_FILE}`": "nDCG@10 on queries not trained on, compared with the initial model or teacher"}
_TRAINING_FILES = {"`log.jsonl`, `monitors.jsonl`": "losses and validation metrics by step"}


def write_model_folder(
    command: Any,
    state: RunState,
    write_model: Callable[[Path], None],
    summary: str,
    inputs: Mapping[str, Path | str | None],
    pipeline_tag: PipelineTag = "sentence-similarity",
) -> Verdict | None:
    """Write the output folder of a training command, and delete its work folder.

    Args:
        command: The command, with the settings output and overwrite.
        state: Work folder of the training run.
        write_model: Function that writes the model to the folder that it is called with.
        summary: How the model was trained, for the model card, such as ``"fine-tuned on my_data"``.
        inputs: Files, folders and names of the models and data used in training.
        pipeline_tag: Task of the model on the Hugging Face hub.

    Returns:
        The verdict on the training run (see ``training_verdict``), which is also in the model card.

    Raises:
        StorageError: The output cannot be written.
    """
    processes = PartialState()
    if processes.is_main_process:
        with state.write_output(overwrite=command.overwrite) as folder:
            write_model(folder)
            state.copy_log(folder)
            base = inputs.get("model") or inputs.get("student") or inputs.get("teacher")
            card = model_card(
                folder,
                command.output.name,
                f"{summary} by encloze",
                base_models=[str(base)] if base else [],
                pipeline_tag=pipeline_tag,
                extra_files=_TRAINING_FILES | (_EFFECT_FILE if (folder / EFFECT_FILE).is_file() else {}),
            )
            verdict = training_verdict(folder, command.name)
            section = f"\n## Result\n\n{markdown(str(verdict))}\n" if verdict else ""
            (folder / README).write_text(card + section + model_card_section(folder), encoding="utf-8")
            write_provenance(folder, recipe.dump(replace(command, resume=False), {"verb": command.name}), inputs)
        if verdict:
            progress.note(str(verdict))
    processes.wait_for_everyone()
    return verdict if processes.is_main_process else training_verdict(command.output, command.name)
