"""Training commands of the demo, and the measurement of their speed; torch is imported when a function is called."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encloze.data.formats.python_docs import PythonDocs
from encloze.storage.json_files import read_json_log

if TYPE_CHECKING:
    from encloze.commands.finetune import Finetune
    from encloze.commands.pretrain import Pretrain

_TEXTS_PER_STEP = 32
_MEASURED_STEPS, _MEASURED_TEXTS = 4, 8  # a quarter of a step's texts, so that slow machines are measured quickly


def build_pretrain(docs: PythonDocs, model: str, steps: int, *, max_tokens: int, seed: int) -> Pretrain:
    """Return the demo's command for RetroMAE pre-training. The caller must set the command's output folder."""
    from encloze.commands.pretrain import Pretrain
    from encloze.models.origins.base import Origin
    from encloze.objectives.retromae import RetroMae
    from encloze.training.arguments import TrainingArguments

    # The new decoder is trained at a high rate, and a pre-trained encoder only at a low rate and later.
    is_new = model == "scratch"
    training = TrainingArguments(
        steps=steps,
        learning_rate=5e-4,
        encoder_learning_rate=None if is_new else 2e-5,
        freeze_encoder_steps=0 if is_new else int(0.4 * steps),
        logging_steps=5,
        save_steps=10,
    )
    return Pretrain(
        docs,
        Origin.from_name(model),
        RetroMae(),
        Path("unused"),
        max_tokens=max_tokens,
        batch_tokens=_TEXTS_PER_STEP * max_tokens,
        training=training,
        monitors=(),  # the evaluation at the end says more
        seed=seed,
    )


def build_finetune(
    docs: PythonDocs,
    model: str,
    steps: int,
    *,
    is_new: bool,
    max_query_tokens: int,
    max_document_tokens: int,
    seed: int,
) -> Finetune:
    """Return the demo's command for fine-tuning. The caller must set the command's output folder.

    ``is_new`` is true if the demo started from random weights, which require a higher learning rate.
    """
    from encloze.commands.finetune import Finetune
    from encloze.models.origins.base import Origin
    from encloze.training.arguments import TrainingArguments

    return Finetune(
        docs,
        Origin.from_name(model),
        Path("unused"),
        max_query_tokens=max_query_tokens,
        max_document_tokens=max_document_tokens,
        batch_size=_TEXTS_PER_STEP,
        evaluate_on=None,  # the demo ends with an evaluation on all queries
        training=TrainingArguments(steps=steps, learning_rate=2e-4 if is_new else 3e-5, logging_steps=5, save_steps=10),
        seed=seed,
    )


def measure_speed(docs: PythonDocs, model: str, seed: int) -> tuple[float, float]:
    """Run a few steps; estimate the seconds per pre-training step and per fine-tuning step at the demo size "full"."""
    pretrain = build_pretrain(docs, model, _MEASURED_STEPS, max_tokens=128, seed=seed)
    pretrain = replace(pretrain, batch_tokens=_MEASURED_TEXTS * 128)
    is_new = model == "scratch"
    limits = {"max_query_tokens": 48, "max_document_tokens": 128}
    finetune = build_finetune(docs, model, _MEASURED_STEPS, is_new=is_new, seed=seed, **limits)
    finetune = replace(finetune, batch_size=_MEASURED_TEXTS)
    return _seconds_per_step(pretrain), _seconds_per_step(finetune)


def _seconds_per_step(command: Any) -> float:
    """Train with a small batch; return the median seconds per step, extrapolated to the demo's batch size."""
    training = replace(command.training, logging_steps=1, save_steps=0, freeze_encoder_steps=0)
    with tempfile.TemporaryDirectory() as folder:
        replace(command, training=training, output=Path(folder) / "model").run()
        entries = list(read_json_log(Path(folder) / "model" / "log.jsonl"))
    seconds: list[float] = [entry["seconds"] for entry in entries[1:]]
    return statistics.median(seconds) * _TEXTS_PER_STEP / _MEASURED_TEXTS
