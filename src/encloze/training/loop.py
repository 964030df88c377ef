"""The one training loop: accumulation, clipping, schedule, checkpoints, log; on one process or many."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn

from encloze import progress
from encloze.errors import EnclozeError, MissingExtraError, RecipeError
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision, autocast, resolved
from encloze.models.trainable import Rows, Terms, Trainable
from encloze.settings import Settings
from encloze.training.comparison import Slopes, compare, vectors_of
from encloze.training.plan import BatchPlan, Place
from encloze.training.schedule import Shape, rate
from encloze.training.spikes import Spikes
from encloze.training.state import Unfinished
from encloze.training.watching import Watcher

_SAVE_EVERY = 500  # steps, at most


@dataclass(frozen=True)
class Training(Settings):
    """How the weights are moved."""

    learning_rate: float = 1e-4
    """The highest learning rate."""
    encoder_learning_rate: float | None = None
    """The highest learning rate of the encoder, where the new parts (head, decoder) should learn faster than it."""
    schedule: Shape = "linear"
    """How the learning rate falls after its warm-up: linear or cosine to 0, or constant."""
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.01
    """AdamW's decay; biases and norms are left out."""
    clip: float = 1.0
    """Gradients longer than this are shortened to it."""
    epochs: float = 1.0
    """How often every example is seen; parts of an epoch are possible."""
    steps: int | None = None
    """Number of optimizer steps; where given, epochs does not count."""
    accumulation: int = 1
    """Each step's batch is worked through in so many parts, to save memory; what is learnt is the same, but for
    dropout (texts that are compared are so across the parts, by gradient caching, for a third more time)."""
    frozen_steps: int | None = None
    """In the first so many steps only the new parts (head, decoder) learn, so that they do no harm while they are
    random; by default a tenth of the steps, 100 at most, where pre-training begins with a new head, and else none."""
    precision: Precision = "auto"
    """Number format of matrix products; auto takes bfloat16 where the processor is made for it."""
    log_every: int = 10
    """Steps between two lines of log.jsonl."""
    save_every: int | None = None
    """Steps between two checkpoints, from which --resume goes on; 0 for none. By default a quarter of the steps, but no
    more than 500."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "swanlab", "aim"], ...] = ()
    """Trackers of accelerate that also get the log."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "encoder_learning_rate", "epochs", "steps", "accumulation", "clip", "log_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for name in ("weight_decay", "frozen_steps", "save_every"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share must be from 0 to below 1, not {self.warmup_share}")


MakeBatch = Callable[[np.ndarray, int, torch.device], Any]
"""Examples' numbers, the epoch and a device to a batch."""


def train(
    module: Trainable,
    plan: BatchPlan,
    make_batch: MakeBatch,
    settings: Training,
    state: Unfinished,
    seed: int,
    identity: dict[str, Any],
    watcher: Watcher | None = None,
) -> None:
    """Train ``module`` in place for the steps that ``settings`` ask for, from the state's checkpoint if it has one.

    Sums are divided by the counts of all processes and parts, so the number of these does not change what is lowered,
    but for dropout, which each part draws for itself. ``identity`` tells what is learnt from: a resumed run must have
    the same. The watcher's monitors look at the beginning and whenever they are due, and may end the run.

    Raises EnclozeError where the loss is no number any more.
    """
    loop = _Loop(module, make_batch, settings, seed, state.output.with_name(f"{state.output.name}.trackers"))
    steps = settings.steps or plan.steps(settings.epochs)
    save_every = min(_SAVE_EVERY, math.ceil(steps / 4)) if settings.save_every is None else settings.save_every
    loop.freeze(loop.frozen_steps > 0)  # may refuse, and nothing is written yet
    if loop.accelerator.is_main_process:
        state.open(identity)
    loop.accelerator.wait_for_everyone()
    step = state.restore(module, loop.optimizer)
    if loop.accelerator.is_main_process:
        state.cut_log(step)
    loop.freeze(step < loop.frozen_steps)
    loop.wrap()
    if step:
        progress.note(f"Going on from step {step} of {steps}")
    loop.accelerator.init_trackers("encloze")
    if watcher and loop.accelerator.is_main_process:
        loop.track(watcher.begin(loop.bare, step), step)
    with progress.task("Training", steps, "steps", done=step) as bar:
        for place in plan.from_step(step):
            if place.step >= steps:
                break
            loop.step(place, steps)
            done = place.step + 1
            if done % settings.log_every == 0 or done == steps:
                figures = loop.figures(done) | {"epoch": round(done / len(plan.epoch(0)), 4)}
                bar.figures.update({name: figures[name] for name in loop.weights})
                loop.record(figures, done, state)
            bar.advance()
            if watcher and watcher.due(done, steps) and loop.is_over(watcher, done):
                break
            if save_every and done % save_every == 0 and done < steps:
                loop.save(done, state)
    if watcher and loop.accelerator.is_main_process:
        watcher.end(loop.bare)
    loop.accelerator.end_training()
    module.eval()


class _Loop:
    def __init__(self, module: Trainable, make_batch: MakeBatch, settings: Training, seed: int, trackers: Path) -> None:
        keep_buffers()
        self.accelerator = Accelerator(log_with=_trackers(settings), project_dir=trackers)
        self.device = self.accelerator.device
        self.settings, self.make_batch, self.seed = settings, make_batch, seed
        self.bare = module.to(self.device).train()
        self.module: nn.Module = module
        self.weights = module.weights
        self.optimizer = torch.optim.AdamW(_groups(module, settings, module.encoder_parameters()))
        self.frozen: list[nn.Parameter] = []
        self.frozen_steps = settings.frozen_steps or 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}
        self.began = time.monotonic()
        self.spikes = Spikes()

    def wrap(self) -> None:
        """Share the module among the processes, if there are several."""
        if self.accelerator.num_processes > 1:
            self.module = nn.parallel.DistributedDataParallel(self.bare)

    def freeze(self, wanted: bool) -> None:
        """Let the encoder stay as it is, or learn again.

        On one process its gradients are not even worked out. Several processes need them all the same, because their
        exchange was set up for every parameter; there they are thrown away.
        """
        self.frozen = self.bare.encoder_parameters() if wanted else []
        learning = {id(parameter) for parameter in self.bare.parameters() if parameter.requires_grad}
        if learning <= {id(parameter) for parameter in self.frozen}:
            message = "there is nothing but the encoder to learn, so it cannot be left as it is: say 0"
            raise RecipeError("the training", [("training.frozen_steps", message)])
        if self.accelerator.num_processes == 1:
            for parameter in self.bare.encoder_parameters():
                parameter.requires_grad_(not wanted)

    def step(self, place: Place, steps: int) -> None:
        """One optimizer step over a batch of the plan."""
        if self.frozen and place.step >= self.frozen_steps:
            self.freeze(False)
        for group in self.optimizer.param_groups:
            warmup = round(self.settings.warmup_share * steps)
            group["lr"] = group["highest_rate"] * rate(place.step, steps, warmup, self.settings.schedule)
        shares = self._shares(place)
        empty = [not len(share) for share in shares]
        # A share without examples takes one to no effect: each process must take part in every exchange.
        filled = [share if len(share) else place.examples[:1] for share in shares]
        parts = [self.bare.draw(self.make_batch(share, place.epoch, self.device)) for share in filled]
        counts = self._counted(parts, empty)
        self.weights = self.bare.weights_at(place.step / steps)
        # One part needs no second pass: its embeddings are compared when they are made.
        slopes = self._compared_ahead(place, parts, empty, counts) if self.bare.compares and len(parts) > 1 else None
        for number, (part, is_empty) in enumerate(zip(parts, empty, strict=True)):
            self._seed_dropout(place, number)
            with self._exchange(last=number == len(parts) - 1):
                self._learn(part, counts, is_empty, None if slopes is None else slopes[number])
        for parameter in self.frozen:
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.bare.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def figures(self, step: int) -> dict[str, Any]:
        """What is logged: each term's mean since the last time, over all processes."""
        names = sorted(self.sums)
        sums = self.accelerator.reduce(torch.stack([self.sums[name].double() for name in names])).tolist()
        counts = [self.counts[name].item() for name in names]
        means = {name: total / max(1, count) for name, total, count in zip(names, sums, counts, strict=True)}
        self.check_finite(step)
        for name in self.weights:
            self.spikes.see(name, means[name], step)
        self.sums, self.counts = {}, {}
        seconds, self.began = time.monotonic() - self.began, time.monotonic()
        return {
            "step": step,
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "precision": resolved(self.settings.precision, self.device),
            "seconds": round(seconds, 3),
        }

    def record(self, figures: dict[str, Any], step: int, state: Unfinished) -> None:
        """Write a line of the log."""
        if self.accelerator.is_main_process:
            state.write_log(figures)
        self.track(figures, step)

    def track(self, figures: dict[str, Any], step: int) -> None:
        """Tell the trackers, if there are any."""
        if figures:
            self.accelerator.log(figures, step=step)

    def save(self, step: int, state: Unfinished) -> None:
        """Write a checkpoint, unless what it would hold is no good."""
        self.check_finite(step)
        if self.accelerator.is_main_process:
            state.save(step, self.bare, self.optimizer)
        self.accelerator.wait_for_everyone()

    def is_over(self, watcher: Watcher, done: int) -> bool:
        """Let the monitors look; whether the run should end. The main process looks for all of them."""
        over = torch.zeros((), dtype=torch.int64, device=self.device)
        if self.accelerator.is_main_process:
            self.track(watcher.look(self.bare, done), done)
            over += watcher.is_over()
        if self.accelerator.num_processes > 1:
            over = self.accelerator.reduce(over)
        if over:
            progress.note(f"{watcher.settings.best} has not got better in {watcher.settings.patience} looks: the end")
        return bool(over)

    def check_finite(self, step: int) -> None:
        """Raise EnclozeError where a term is no number any more: nothing good can come after."""
        bad = [name for name in self.weights if name in self.sums and not math.isfinite(float(self.sums[name]))]
        if bad:
            raise EnclozeError(
                f"the loss ({', '.join(bad)}) is no number any more near step {step}. Begin anew with "
                "--overwrite and a lower --training.learning_rate, or with --training.precision float32"
            )

    def _learn(self, part: Any, counts: dict[str, Tensor], is_empty: bool, slopes: Slopes | None) -> None:
        with autocast(self.settings.precision, self.device):
            found: Terms = self.module(part)
        terms = []
        if found.compared:
            if slopes is None:
                (slopes,) = self._slopes([found.compared], [is_empty], counts)
            for rows, slope in zip(vectors_of(found.compared), slopes, strict=True):
                terms.append((rows * slope.to(rows.dtype)).sum())  # its gradient is the comparison's
        # Processes average their gradients, so each one's share of the sum is taken times their number.
        scale, sums = 0.0 if is_empty else float(self.accelerator.num_processes), found.sums
        terms += [scale * weight * sums[name] / counts[name] for name, weight in self.weights.items() if name in sums]
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
        self._add({name: value.detach() * (not is_empty) for name, value in sums.items()})

    def _compared_ahead(
        self, place: Place, parts: list[Any], empty: list[bool], counts: dict[str, Tensor]
    ) -> list[Slopes]:
        """The slopes of the comparison over the vectors of each part (gradient caching, Gao et al., 2021).

        All parts are encoded once without keeping anything for the way back, so the batch that is compared may be far
        larger than memory holds; then each part learns from its slopes. Equal to comparing all at once.
        """
        found = []
        for number, part in enumerate(parts):
            self._seed_dropout(place, number)
            with torch.no_grad(), autocast(self.settings.precision, self.device):
                found.append(self.bare(part).compared)
        return self._slopes(found, empty, counts)

    def _slopes(self, parts: list[tuple[Rows, ...]], empty: list[bool], counts: dict[str, Tensor]) -> list[Slopes]:
        slopes, sums = compare(self.accelerator, self.bare, parts, empty, counts, self.weights)
        self._add(sums)
        return slopes

    def _seed_dropout(self, place: Place, part: int) -> None:
        """Dropout, too, depends on the seed and the place in the run alone."""
        torch.manual_seed(_mixed(self.seed, place.step, self.accelerator.process_index, part))

    def _add(self, sums: dict[str, Tensor]) -> None:
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), dtype=torch.float64, device=self.device)) + value

    def _counted(self, parts: list[Any], empty: list[bool]) -> dict[str, Tensor]:
        """The counts of each term over all parts and processes, at least 1."""
        own = [part.counts() for part, is_empty in zip(parts, empty, strict=True) if not is_empty]
        names = sorted(parts[0].counts())
        zero = torch.zeros((), dtype=torch.int64, device=self.device)
        local = torch.stack([sum((counts[name] for counts in own), zero) for name in names])
        counts = dict(zip(names, self.accelerator.reduce(local), strict=True))
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, zero) + count
        return {name: count.clamp(min=1) for name, count in counts.items()}

    def _shares(self, place: Place) -> list[np.ndarray]:
        """The parts of a batch that this process works through."""
        processes = self.accelerator.num_processes
        shares = np.array_split(place.examples, self.settings.accumulation * processes)
        return shares[self.accelerator.process_index :: processes]

    @contextlib.contextmanager
    def _exchange(self, *, last: bool) -> Iterator[None]:
        """Processes exchange gradients after the last part only."""
        if last or not isinstance(self.module, nn.parallel.DistributedDataParallel):
            yield
        else:
            with self.module.no_sync():
                yield


def _groups(module: nn.Module, settings: Training, encoder: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Parameters by their learning rate, and with and without weight decay; a vector is a bias or a norm."""
    own = {id(parameter) for parameter in encoder}
    groups = []
    for is_encoder in (False, True):
        highest = (settings.encoder_learning_rate if is_encoder else None) or settings.learning_rate
        members = [parameter for parameter in module.parameters() if (id(parameter) in own) == is_encoder]
        for is_matrix, decay in ((True, settings.weight_decay), (False, 0.0)):
            chosen = [parameter for parameter in members if (parameter.ndim > 1) == is_matrix]
            groups.append({"params": chosen, "weight_decay": decay, "highest_rate": highest, "lr": highest})
    return [group for group in groups if group["params"]]


def _trackers(settings: Training) -> list[str] | None:
    """The trackers asked for; MissingExtraError where one is not installed."""
    there = {str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()}
    for name in settings.trackers:
        if name not in there:
            raise MissingExtraError(f"the tracker {name} is not installed. Install it: pip install {name}")
    return list(settings.trackers) or None


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
