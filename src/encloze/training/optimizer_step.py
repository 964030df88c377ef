"""Optimizer steps on one or more processes: micro-batches, freezing of the encoder, clipping of gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn

from encloze.errors import MissingExtraError, RecipeError
from encloze.models.allocator import keep_freed_memory
from encloze.models.precision import autocast
from encloze.models.trainable import EmbeddingBatch, LossOutput, Trainable
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import Step
from encloze.training.cached_gradients import Gradients, cached_gradients, embedding_tensors
from encloze.training.lr_scheduler import learning_rate_factor
from encloze.training.metrics import MetricAverages

MakeBatch = Callable[[np.ndarray, int, torch.device], Any]
"""Function from (indices of examples, epoch, device) to a batch of the trained module."""


class OptimizerSteps:
    """Runs optimizer steps of AdamW on a module.

    Each loss is the mean over all items (such as queries) in the micro-batches of all processes. The number of
    micro-batches and processes therefore does not change losses and gradients, except for dropout, which is sampled
    for each micro-batch.

    Args:
        module: The module to train, in place.
        make_batch: Function that creates a batch from (indices of examples, epoch, device).
        arguments: Learning rates, batch splitting, precision.
        seed: Seed of dropout.
        total_steps: Number of steps of the run, for the learning rate schedule.
        tracker_folder: Folder in which experiment trackers store their files.

    Raises:
        MissingExtraError: A tracker is not installed.
    """

    def __init__(
        self,
        module: Trainable,
        make_batch: MakeBatch,
        arguments: TrainingArguments,
        seed: int,
        total_steps: int,
        tracker_folder: Path,
    ) -> None:
        keep_freed_memory()
        self.accelerator = Accelerator(log_with=available_trackers(arguments), project_dir=tracker_folder)
        self.device = self.accelerator.device
        self.arguments, self.make_batch, self.seed, self.total_steps = arguments, make_batch, seed, total_steps
        self.module = module.to(self.device).train()
        self.loss_weights = module.loss_weights
        self.optimizer = torch.optim.AdamW(_parameter_groups(module, arguments, module.encoder_parameters()))
        self.metrics = MetricAverages(self.accelerator)
        self._distributed: nn.Module = module
        self._frozen: list[nn.Parameter] = []

    def wrap_distributed(self) -> None:
        """Use DistributedDataParallel for the forward and backward pass if there are several processes."""
        if self.accelerator.num_processes > 1:
            self._distributed = nn.parallel.DistributedDataParallel(self.module)

    def freeze_encoder(self, is_frozen: bool) -> None:
        """Freeze or unfreeze the encoder's parameters.

        With a single process, the gradients of frozen parameters are not computed. With several processes, they are
        computed and discarded, because DistributedDataParallel is set up for every parameter.

        Raises:
            RecipeError: The module has only parameters of the encoder, so no parameter would be trained.
        """
        self._frozen = self.module.encoder_parameters() if is_frozen else []
        trained = {id(parameter) for parameter in self.module.parameters() if parameter.requires_grad}
        if trained <= {id(parameter) for parameter in self._frozen}:
            message = (
                "all parameters of this objective belong to the encoder, so it cannot be frozen: set this setting to 0"
            )
            raise RecipeError("the training", [("training.freeze_encoder_steps", message)])
        if self.accelerator.num_processes == 1:
            for parameter in self.module.encoder_parameters():
                parameter.requires_grad_(not is_frozen)

    def run(self, step: Step) -> None:
        """Run one optimizer step on the examples of ``step``."""
        if self._frozen and step.number >= (self.arguments.freeze_encoder_steps or 0):
            self.freeze_encoder(False)
        self._set_learning_rates(step.number)
        shares = self._micro_batches(step)
        is_empty = [not len(share) for share in shares]
        # A micro-batch without examples is replaced by one without effect: every process must take part in each
        # communication.
        filled = [share if len(share) else step.examples[:1] for share in shares]
        batches = [self.module.sample(self.make_batch(share, step.epoch, self.device)) for share in filled]
        counts = self._total_counts(batches, is_empty)
        progress = step.number / self.total_steps
        self.module.start_step(progress)
        self.loss_weights = self.module.loss_weights_at(progress)
        gradients: list[Gradients | None] = [None] * len(batches)
        if self.module.has_global_losses and len(batches) > 1:  # one micro-batch needs no additional forward pass
            gradients = [*self._cache_gradients(step, batches, is_empty, counts)]
        for index, batch in enumerate(batches):
            self._seed_dropout(step, index)
            with self._gradient_sync(is_last=index == len(batches) - 1):
                self._backward(batch, counts, is_empty[index], gradients[index])
        for parameter in self._frozen:
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.arguments.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _set_learning_rates(self, number: int) -> None:
        warmup_steps = round(self.arguments.warmup_ratio * self.total_steps)
        factor = learning_rate_factor(number, self.total_steps, warmup_steps, self.arguments.lr_scheduler)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    def _micro_batches(self, step: Step) -> list[np.ndarray]:
        """Return the indices of the examples in each micro-batch of this process."""
        processes = self.accelerator.num_processes
        shares = np.array_split(step.examples, self.arguments.micro_batches * processes)
        return shares[self.accelerator.process_index :: processes]

    def _total_counts(self, batches: list[Any], is_empty: list[bool]) -> dict[str, Tensor]:
        """Return the divisor of each loss term: its number of items (such as queries) in the whole step, at least 1."""
        own = [batch.counts() for batch, empty in zip(batches, is_empty, strict=True) if not empty]
        names = sorted(batches[0].counts())
        zero = torch.zeros((), dtype=torch.int64, device=self.device)
        local = torch.stack([sum((counts[name] for counts in own), zero) for name in names])
        counts = dict(zip(names, self.accelerator.reduce(local), strict=True))
        self.metrics.add_counts(counts)
        return {name: count.clamp(min=1) for name, count in counts.items()}

    def _cache_gradients(
        self, step: Step, batches: list[Any], is_empty: list[bool], counts: dict[str, Tensor]
    ) -> list[Gradients]:
        """Return the gradients of the global losses with respect to the embeddings of each micro-batch.

        Global losses compare the texts of the whole batch, which may be too large for one backward pass. Therefore all
        micro-batches are first encoded without storing activations. From these embeddings, the gradients are computed;
        they are the same as without micro-batches.
        """
        embeddings = []
        for index, batch in enumerate(batches):
            self._seed_dropout(step, index)
            with torch.no_grad(), autocast(self.arguments.precision, self.device):
                embeddings.append(self.module(batch).embeddings)
        return self._global_gradients(embeddings, is_empty, counts)

    def _global_gradients(
        self, embeddings: list[tuple[EmbeddingBatch, ...]], is_empty: list[bool], counts: dict[str, Tensor]
    ) -> list[Gradients]:
        gradients, sums = cached_gradients(
            self.accelerator, self.module, embeddings, is_empty, counts, self.loss_weights
        )
        self.metrics.add(sums)
        return gradients

    def _backward(self, batch: Any, counts: dict[str, Tensor], is_empty: bool, gradients: Gradients | None) -> None:
        """Run the forward and backward pass of one micro-batch."""
        with autocast(self.arguments.precision, self.device):
            output: LossOutput = self._distributed(batch)
        terms = []
        if output.embeddings:
            if gradients is None:
                (gradients,) = self._global_gradients([output.embeddings], [is_empty], counts)
            for vectors, gradient in zip(embedding_tensors(output.embeddings), gradients, strict=True):
                terms.append((vectors * gradient.to(vectors.dtype)).sum())  # has the gradient of the global losses
        # Processes average their gradients, so each process's share of a sum is multiplied by their number.
        scale, sums = 0.0 if is_empty else float(self.accelerator.num_processes), output.sums
        terms += [
            scale * weight * sums[name] / counts[name] for name, weight in self.loss_weights.items() if name in sums
        ]
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
        self.metrics.add({name: value.detach() * (not is_empty) for name, value in sums.items()})

    def _seed_dropout(self, step: Step, index: int) -> None:
        """Seed dropout by ``seed``, step, process and micro-batch, so that dropout is the same in a resumed run."""
        entropy = (self.seed, step.number, self.accelerator.process_index, index)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))

    @contextlib.contextmanager
    def _gradient_sync(self, *, is_last: bool) -> Iterator[None]:
        """In a ``with`` block, average gradients over processes only for the last micro-batch of a step."""
        if is_last or not isinstance(self._distributed, nn.parallel.DistributedDataParallel):
            yield
        else:
            with self._distributed.no_sync():
                yield


def _parameter_groups(
    module: nn.Module, arguments: TrainingArguments, encoder: list[nn.Parameter]
) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups, one for each combination of encoder or other, and matrix or vector.

    The parameters of the encoder may have another learning rate than the others. Only matrices have weight decay.
    """
    encoder_ids = {id(parameter) for parameter in encoder}
    groups = []
    for is_encoder in (False, True):
        peak_lr = (arguments.encoder_learning_rate if is_encoder else None) or arguments.learning_rate
        members = [parameter for parameter in module.parameters() if (id(parameter) in encoder_ids) == is_encoder]
        for is_matrix, decay in ((True, arguments.weight_decay), (False, 0.0)):
            parameters = [parameter for parameter in members if (parameter.ndim > 1) == is_matrix]
            groups.append({"params": parameters, "weight_decay": decay, "peak_lr": peak_lr, "lr": peak_lr})
    return [group for group in groups if group["params"]]


def available_trackers(arguments: TrainingArguments) -> list[str] | None:
    """Return the configured trackers, or None. Raises MissingExtraError if one of them is not installed."""
    installed = {str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()}
    for name in arguments.trackers:
        if name not in installed:
            raise MissingExtraError(f"the tracker {name} is not installed. Install it: pip install {name}")
    return list(arguments.trackers) or None
