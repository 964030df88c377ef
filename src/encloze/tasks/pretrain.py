"""Pre-train an encoder on plain text, so that one vector holds the text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_model

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError
from encloze.models.checkpoint import DECODERS, Card
from encloze.models.heads.dense import Dense
from encloze.models.layers.masking import TokenBatch
from encloze.models.layers.pooling import Pooling
from encloze.models.origins.base import Origin, Start
from encloze.objectives.base import Objective, PretrainingModule
from encloze.tasks.base import Task, Trained
from encloze.text.tokens import Tokens, pad
from encloze.training.loop import Training, train
from encloze.training.outcome import begin, finish
from encloze.training.plan import BatchPlan

_LEAST_TOKENS = 6  # a text of fewer, its two special tokens counted, has nothing to be rebuilt from
_MOST_FROZEN = 100


@dataclass(frozen=True)
class Pretrain(Task, name="pretrain"):
    """Adapt an encoder to a corpus, or make a new one; the result is fine-tuned next."""

    corpus: Format
    """Plain text: a folder or file in any known format, or python_docs."""
    model: Origin
    """What to start from: minilm, a model folder, a hub's id, or scratch."""
    objective: Objective
    """What to learn."""
    output: Path
    """The model folder to write."""
    max_tokens: int | None = None
    """Texts are cut to so many tokens; by default to what the model takes, 512 at most."""
    batch_tokens: int = 8192
    """Tokens, with padding, of one step's batch over all processes."""
    training: Training = field(default_factory=Training)
    """How the weights are moved."""
    gradient_checkpointing: bool = False
    """Whether activations are worked out twice to save memory; the result is the same."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or (self.max_tokens is not None and self.max_tokens < _LEAST_TOKENS):
            raise ValueError(f"batch_tokens must be above 0 and max_tokens at least {_LEAST_TOKENS}")

    def run(self) -> Trained:
        state = begin(self)
        corpus = Corpus.open(self.corpus, pretraining=True)
        start = self.model.start(corpus.texts, need_head=True, seed=self.seed)
        limit = min(self.max_tokens or 512, start.backbone.max_tokens)
        tokens = Tokens.of(corpus.texts(), len(corpus), start.tokenizer, corpus.fingerprint)
        numbers = _long_enough(tokens, str(self.corpus.place()))

        def make_batch(planned: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
            chosen = numbers[planned]
            padded = pad([tokens[int(number)] for number in chosen], start.tokenizer, limit)
            ids, attention, words, examples = (
                torch.from_numpy(array).to(device) for array in (padded.ids, padded.attention, padded.words, chosen)
            )
            return TokenBatch(ids, attention, words, examples, self.seed, epoch)

        plan = BatchPlan(np.minimum(tokens.lengths[numbers] + 2, limit), self.seed, self.batch_tokens)
        torch.manual_seed(self.seed)  # the decoder's first weights
        module = self.objective.module(start.backbone, start.tokenizer, _pooling(start.card))
        _restore_decoders(module, start)
        if self.gradient_checkpointing:
            module.checkpoint_gradients()
        settings = _with_frozen_steps(self.training, plan, start.backbone.head_is_new)
        identity = {"corpus": corpus.fingerprint, "tokenizer": start.tokenizer.fingerprint, "texts": len(numbers)}
        train(module, plan, make_batch, settings, state, self.seed, identity)
        how = f"pre-trained with {self.objective.name} on {self.corpus.place()} (texts to {limit} tokens)"
        inputs = {"corpus": self.corpus.place(), "model": self.model.label()}
        finish(self, state, lambda folder: _write(module, start, folder), how, inputs)
        return Trained(self.output, "finetune")


def _restore_decoders(module: PretrainingModule, start: Start) -> None:
    """Go on with the decoders of an earlier pre-training, where they are of the same make; say which it is."""
    decoders = module.decoders()
    if start.decoders is None or decoders is None:
        return
    found = load_file(str(start.decoders))
    if {name: value.shape for name, value in decoders.state_dict().items()} == {n: v.shape for n, v in found.items()}:
        decoders.load_state_dict(found)
        progress.note("The decoder of the earlier pre-training goes on learning")
    else:
        progress.note("The decoder of the earlier pre-training is of another make: a new one begins")


def _write(module: PretrainingModule, start: Start, folder: Path) -> None:
    module.backbone.save(folder)
    start.tokenizer.save(folder, start.backbone.max_tokens)
    head = replace(start.card.head, pooling=module.pooling) if isinstance(start.card.head, Dense) else start.card.head
    replace(start.card, head=head).write(folder)
    if (decoders := module.decoders()) is not None:
        save_model(decoders, str(folder / DECODERS))


def _pooling(card: Card) -> Pooling:
    return card.head.pooling if isinstance(card.head, Dense) else "cls"


def _long_enough(tokens: Tokens, place: str) -> np.ndarray:
    numbers = np.flatnonzero(tokens.lengths + 2 >= _LEAST_TOKENS)
    if not len(numbers):
        raise DataError(f"{place} has no text of {_LEAST_TOKENS - 2} tokens or more to learn from")
    if len(numbers) < len(tokens):
        progress.note(f"{len(tokens) - len(numbers)} texts of less than {_LEAST_TOKENS - 2} tokens are left out")
    return numbers


def _with_frozen_steps(training: Training, plan: BatchPlan, head_is_new: bool) -> Training:
    if training.frozen_steps is not None:
        return training
    steps = training.steps or plan.steps(training.epochs)
    return replace(training, frozen_steps=min(_MOST_FROZEN, steps // 10) if head_is_new else 0)
