"""Validation during pre-training: runs monitors, records their metrics, keeps the best weights, stops early."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.torch import load_model, save_model

from encloze import progress
from encloze.errors import CheckpointError, RecipeError
from encloze.models.pretraining_module import PretrainingModule
from encloze.settings import Settings
from encloze.storage.cached_files import is_intact, store_with_checksum
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import LogEntry, read_json_log
from encloze.storage.run_state import RunState
from encloze.training.checkpoint import explain_weight_errors
from encloze.training.monitors.base import Metrics, Monitor, PretrainingData

MIN_HELD_OUT_TEXTS = 8
_MAX_HELD_OUT_FRACTION = 0.05


@dataclass(frozen=True)
class ValidationSettings(Settings):
    """Validation during pre-training: when monitors run, on how many held-out texts, and which weights are saved.

    Raises:
        ValueError: A value is outside its range, or ``early_stopping_patience`` is set without a metric.

    Example:
        >>> ValidationSettings(evaluations=8, metric_for_best_model="retrieval.finetuned").early_stopping_patience
    """

    evaluations: int = 4
    """Number of evaluations at equal intervals; the last one is after the last step. There is an additional evaluation
    before the first step."""
    max_texts: int = 256
    """Maximum number of texts held out from training for the monitors; at most 5 % of the corpus is held out."""
    metric_for_best_model: str | None = None
    """Validation metric, written as monitor.metric, such as retrieval.finetuned. The weights with the best value of
    this metric are saved. By default the weights after the last step are saved."""
    early_stopping_patience: int | None = None
    """Stop after this number of evaluations without improvement of metric_for_best_model; by default never."""

    def __post_init__(self) -> None:
        for name in ("evaluations", "max_texts", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if self.early_stopping_patience is not None and self.metric_for_best_model is None:
            raise ValueError("early_stopping_patience needs metric_for_best_model: set it to the metric to improve")


class Validator:
    """Runs the monitors of a pre-training, writes ``monitors.jsonl``, and keeps the best weights.

    Args:
        settings: When to evaluate, and which metric selects the weights to save.
        monitors: The monitors to run.
        data: Held-out and training texts.
        state: Work folder of the run.
        module: The trained module, which is evaluated and saved.

    Raises:
        RecipeError: ``metric_for_best_model`` is not a metric of the monitors that can select the best model.
        DataError: There are too few texts for a monitor, or they lack data that it needs, such as titles.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        monitors: tuple[Monitor, ...],
        data: PretrainingData,
        state: RunState,
        module: PretrainingModule,
    ) -> None:
        self.settings, self._module = settings, module
        self._file, self._best_weights = state.folder / "monitors.jsonl", state.folder / "best.safetensors"
        self._higher_is_better = _higher_is_better(settings.metric_for_best_model, monitors, module)
        self._metrics: dict[str, Metrics] = {monitor.name: monitor.build(data) for monitor in monitors}

    def is_due(self, completed: int, total_steps: int) -> bool:
        """Return whether to evaluate after ``completed`` of ``total_steps`` steps."""
        count = self.settings.evaluations
        return bool(self._metrics) and completed in {round(total_steps * n / count) for n in range(1, count + 1)}

    def start(self, completed: int) -> dict[str, float]:
        """Delete records of evaluations at later steps than ``completed``. If no record is left, evaluate the model.

        Returns:
            The metrics of the untrained model by name; an empty dict if there are records.
        """
        if not self._metrics:
            return {}
        records = [record for record in self._records() if record["step"] <= completed]
        self._file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
        return {} if records else self.evaluate(0)

    def evaluate(self, completed: int) -> dict[str, float]:
        """Run all monitors, record their metrics, and save the weights if they are the best so far.

        Returns:
            The metrics, named ``MONITOR.METRIC``.
        """
        values: dict[str, float] = {}
        with progress.task("Evaluating", len(self._metrics), "monitors") as bar:
            for name, compute in self._metrics.items():
                values |= {f"{name}.{metric}": value for metric, value in compute(self._module).items()}
                bar.advance()
        previous, metric = self._best(self._records()), self.settings.metric_for_best_model
        with explain_write_errors(self._file):
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": completed, **values}) + "\n")
            if metric is not None and (previous is None or self._is_better(values[metric], previous.value)):
                partial = self._best_weights.with_name(f".{self._best_weights.name}")
                save_model(self._module, str(partial))
                store_with_checksum(partial, self._best_weights)
        return values

    def should_stop(self) -> bool:
        """Return whether the last ``early_stopping_patience`` evaluations did not improve ``metric_for_best_model``."""
        records = self._records()
        best, patience = self._best(records), self.settings.early_stopping_patience
        if patience is None or best is None:
            return False
        return len([record for record in records if record["step"] > best.step]) >= patience

    def load_best_weights(self) -> None:
        """If ``metric_for_best_model`` is set, load the weights with the best value of this metric into the module."""
        best = self._best(self._records())
        if best is not None:
            if not is_intact(self._best_weights):
                raise CheckpointError(f"{self._best_weights} is damaged. Start over with --overwrite")
            with explain_weight_errors(self._best_weights):
                load_model(self._module, str(self._best_weights))
            progress.note(
                f"Loaded the best weights, of step {best.step}: {self.settings.metric_for_best_model} {best.value:.4f}"
            )

    def copy_records(self, folder: Path) -> None:
        """Copy ``monitors.jsonl`` into ``folder`` if monitors are configured."""
        if self._metrics:
            shutil.copyfile(self._file, folder / self._file.name)

    def _records(self) -> list[dict[str, Any]]:
        """Return the metrics of each evaluation so far. An incomplete last line (of a killed process) is ignored."""
        return list(read_json_log(self._file, LogEntry))

    def _best(self, records: list[dict[str, Any]]) -> _Best | None:
        best = None
        for record in records:
            value = record.get(self.settings.metric_for_best_model or "")
            if value is not None and (best is None or self._is_better(value, best.value)):
                best = _Best(record["step"], value)
        return best

    def _is_better(self, value: float, reference: float) -> bool:
        return value > reference if self._higher_is_better else value < reference


class _Best(NamedTuple):
    """Best value of ``metric_for_best_model`` so far, and the step at which it was computed."""

    step: int
    value: float


def default_monitors() -> tuple[Monitor, ...]:
    """Return the default monitors of a pre-training, which are cheap to compute."""
    return tuple(Monitor.from_name(name) for name in ("held_out", "bottleneck", "embeddings"))


def select_held_out(sources: np.ndarray, usable: np.ndarray, max_texts: int, seed: int) -> np.ndarray:
    """Select texts to hold out from training.

    All texts of a source document are held out together, so that no neighbor of a held-out text is used in training.
    The selection does not depend on the objective.

    Args:
        sources: Index of the source document of each text, int64 ``(texts,)``.
        usable: Indices of the texts that the objective can use, int64 ``(usable,)``.
        max_texts: Maximum number of texts; at most 5 % of all texts are held out.
        seed: Seed of the selection.

    Returns:
        Whether each usable text is held out, bool ``(usable,)``. If fewer than 8 texts could be held
        out, no text is held out.
    """
    remaining = min(max_texts, int(_MAX_HELD_OUT_FRACTION * len(sources)))
    sizes = np.bincount(sources)
    selected = np.zeros(len(sizes), bool)
    for source in np.random.default_rng([seed, 7]).permutation(np.flatnonzero(sizes)).tolist():
        if 0 < sizes[source] <= remaining:
            selected[source] = True
            remaining -= int(sizes[source])
        if not remaining:
            break
    is_held_out = selected[sources][usable]
    return is_held_out if is_held_out.sum() >= MIN_HELD_OUT_TEXTS else np.zeros(len(usable), bool)


def _higher_is_better(metric: str | None, monitors: tuple[Monitor, ...], module: PretrainingModule) -> bool:
    """Return whether higher values of ``metric`` are better. Raises RecipeError if it cannot select the best model."""
    if metric is None:
        return True
    directions = {
        f"{monitor.name}.{name}": direction
        for monitor in monitors
        for name, direction in monitor.directions(module).items()
    }
    if metric not in directions:
        message = f"{metric!r} cannot select the best model. Choose one of: {', '.join(directions) or 'none'}"
        raise RecipeError("the recipe", [("validation.metric_for_best_model", message)])
    return directions[metric] == "higher"
