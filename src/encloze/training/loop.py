"""The training loop: optimizer steps, log, checkpoints and validation until the last step."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from encloze import progress
from encloze.errors import CheckpointError, EnclozeError
from encloze.models.precision import on_processor, resolve_precision
from encloze.models.trainable import Trainable
from encloze.storage.run_state import RunState
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import BatchPlan
from encloze.training.checkpoint import load_checkpoint, save_checkpoint
from encloze.training.loss_spikes import LossSpikeDetector
from encloze.training.optimizer_step import MakeBatch, OptimizerSteps
from encloze.training.validation import Validator

_MAX_SAVE_STEPS = 500


def train(
    module: Trainable,
    plan: BatchPlan,
    make_batch: MakeBatch,
    arguments: TrainingArguments,
    state: RunState,
    seed: int,
    identity: dict[str, Any],
    validator: Validator | None = None,
) -> None:
    """Train ``module`` in place. If the work folder of ``state`` has a checkpoint, training continues from it.

    The run may be interrupted at any time and resumed. On a CPU with the same number of threads, the final weights are
    identical to those of an uninterrupted run.

    Args:
        module: The module to train.
        plan: Examples of each step.
        make_batch: Function that creates a batch from (indices of examples, epoch, device).
        arguments: Number of steps, optimizer, logging and checkpoints.
        state: Work folder of the run; ``RunState.prepare`` must have been called.
        seed: Seed of dropout.
        identity: Fingerprints of the training data. A resumed run must have the same fingerprints.
        validator: Runs monitors at the start and at regular intervals, and may stop the run early.

    Raises:
        EnclozeError: The loss is infinite or NaN.
        CheckpointError: The checkpoint is damaged, or was written with other training data.
        RecipeError: ``freeze_encoder_steps`` is above 0, but all parameters belong to the encoder.
    """
    total_steps = arguments.steps or plan.steps(arguments.epochs)
    batches = plan.epoch(0)
    per_step = sum(map(len, batches)) / len(batches)
    progress.note(f"{total_steps:,} steps of {per_step:,.0f} examples on average; an epoch has {len(batches):,} steps")
    tracker_folder = state.output.with_name(f"{state.output.name}.trackers")
    run = _Run(OptimizerSteps(module, make_batch, arguments, seed, total_steps, tracker_folder), state, validator)
    save_steps = arguments.save_steps
    if save_steps is None:
        save_steps = min(_MAX_SAVE_STEPS, math.ceil(total_steps / 4))
    completed = run.start(identity)
    title = f"Training {on_processor(run.accelerator.device)}"
    with progress.task(title, total_steps, "steps", completed=completed) as bar:
        for step in plan.from_step(completed):
            if step.number >= total_steps:
                break
            run.optimizer_steps.run(step)
            completed = step.number + 1
            if completed % arguments.logging_steps == 0 or completed == total_steps:
                bar.metrics.update(run.write_log(completed, epoch=round(completed / len(plan.epoch(0)), 4)))
            bar.advance()
            if validator and validator.is_due(completed, total_steps) and run.validate(completed):
                break
            if save_steps and completed % save_steps == 0 and completed < total_steps:
                run.save(completed)
    run.end()


class _Run:
    """One training run: its log, checkpoints and validation. Only the main process writes files."""

    def __init__(self, optimizer_steps: OptimizerSteps, state: RunState, validator: Validator | None) -> None:
        self.optimizer_steps, self.state, self.validator = optimizer_steps, state, validator
        self.accelerator, self.module = optimizer_steps.accelerator, optimizer_steps.module
        self.spikes = LossSpikeDetector()
        self.logged_at = time.monotonic()

    def start(self, identity: dict[str, Any]) -> int:
        """Load the checkpoint, if it exists, and return the number of completed steps."""
        steps = self.optimizer_steps
        freeze_steps = steps.arguments.freeze_encoder_steps or 0
        steps.freeze_encoder(freeze_steps > 0)  # may raise, and nothing has been written yet
        if self.accelerator.is_main_process:
            self.state.open(identity)
        self.accelerator.wait_for_everyone()
        completed = load_checkpoint(self.state.folder, self.module, steps.optimizer)
        if not 0 <= completed <= steps.total_steps:
            raise CheckpointError(
                f"{self.state.folder} is damaged: its checkpoint is of step {completed}, but the run has "
                f"{steps.total_steps} steps. Start over with --overwrite"
            )
        if self.accelerator.is_main_process:
            self.state.truncate_log(completed)
        steps.freeze_encoder(completed < freeze_steps)
        steps.wrap_distributed()
        if completed:
            progress.note(f"Resuming from step {completed} of {steps.total_steps}")
        self.accelerator.init_trackers("encloze")
        if self.validator and self.accelerator.is_main_process:
            self._track(self.validator.start(completed), completed)
        return completed

    def write_log(self, completed: int, epoch: float) -> dict[str, float]:
        """Write a line to the log; return the mean of each loss term over the steps since the previous line."""
        steps = self.optimizer_steps
        means = steps.metrics.compute()
        self._check_finite(completed)
        losses = {name: means[name] for name in steps.loss_weights}
        for name, value in losses.items():
            self.spikes.update(name, value, completed)
        steps.metrics.reset()
        seconds, self.logged_at = time.monotonic() - self.logged_at, time.monotonic()
        entry = {
            "step": completed,
            **means,
            "learning_rate": steps.optimizer.param_groups[0]["lr"],
            "precision": resolve_precision(steps.arguments.precision, steps.device),
            "seconds": round(seconds, 3),
            "epoch": epoch,
        }
        if self.accelerator.is_main_process:
            self.state.append_log(entry)
        self._track(entry, completed)
        return losses

    def save(self, completed: int) -> None:
        """Write a checkpoint; if the loss is infinite or NaN, raise EnclozeError instead."""
        self._check_finite(completed)
        if self.accelerator.is_main_process:
            save_checkpoint(self.state.folder, completed, self.module, self.optimizer_steps.optimizer)
        self.accelerator.wait_for_everyone()

    def validate(self, completed: int) -> bool:
        """Run the monitors on the main process, and return in every process whether to stop early."""
        assert self.validator is not None
        stop = torch.zeros((), dtype=torch.int64, device=self.optimizer_steps.device)
        if self.accelerator.is_main_process:
            self._track(self.validator.evaluate(completed), completed)
            stop += self.validator.should_stop()
        if self.accelerator.num_processes > 1:
            stop = self.accelerator.reduce(stop)
        if stop:
            settings = self.validator.settings
            progress.note(
                f"Early stopping: no improvement of {settings.metric_for_best_model} in "
                f"{settings.early_stopping_patience} evaluations"
            )
        return bool(stop)

    def end(self) -> None:
        """Load the best weights, if ``metric_for_best_model`` is set, and close the experiment trackers."""
        if self.validator and self.accelerator.is_main_process:
            self.validator.load_best_weights()
        self.accelerator.end_training()
        self.module.eval()

    def _track(self, metrics: dict[str, Any], completed: int) -> None:
        """Send metrics to the experiment trackers, if any are configured."""
        if metrics:
            self.accelerator.log(metrics, step=completed)

    def _check_finite(self, completed: int) -> None:
        """Raise EnclozeError if a loss term is infinite or NaN, because no further step can repair the weights then."""
        names = self.optimizer_steps.metrics.non_finite([*self.optimizer_steps.loss_weights])
        if names:
            raise EnclozeError(
                f"the loss ({', '.join(names)}) is infinite or NaN near step {completed}. Start over with --overwrite "
                "and a lower --training.learning_rate, or with --training.precision float32"
            )
