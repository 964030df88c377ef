"""Pre-train an encoder on plain text, so that one vector holds the text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from encloze import progress
from encloze.commands.base import Command, Trained
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError, RecipeError
from encloze.models.checkpoint import DECODERS, Card
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling
from encloze.models.origins.base import Origin, Start
from encloze.models.vocabulary import with_new_words
from encloze.objectives.base import Objective, PretrainingModule
from encloze.training.loop import Training, train
from encloze.training.monitors.base import Material, Monitor
from encloze.training.outcome import begin, finish
from encloze.training.plan import BatchPlan
from encloze.training.retention import Retaining
from encloze.training.texts import LEAST_TOKENS, TextBatches
from encloze.training.watching import FEWEST_TEXTS, Watcher, Watching, held_out, usual_monitors

_MOST_FROZEN = 100


@dataclass(frozen=True)
class Pretrain(Command, name="pretrain"):
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
    """Longer texts are learnt in parts of so many tokens; by default what the model takes, 512 at most."""
    new_words: int = 0
    """So many frequent words of the corpus that the tokenizer splits into many pieces become tokens of their own."""
    batch_tokens: int = 8192
    """Tokens, with padding, of one step's batch over all processes."""
    training: Training = field(default_factory=Training)
    """How the weights are moved."""
    retain: float = 0.0
    """Weight of a term that keeps embeddings close to those of the model it starts from (1 - cosine): for a model
    that retrieves already. It costs two more passes through the encoder."""
    monitors: tuple[Monitor, ...] = field(default_factory=usual_monitors)
    """What is looked at on held-out texts while it runs: held_out, bottleneck, embeddings, retrieval, vocabulary."""
    watching: Watching = field(default_factory=Watching)
    """How often the monitors look, and what follows from it."""
    gradient_checkpointing: bool = False
    """Whether activations are worked out twice to save memory; the result is the same."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or (self.max_tokens is not None and self.max_tokens < LEAST_TOKENS):
            raise ValueError(f"batch_tokens must be above 0 and max_tokens at least {LEAST_TOKENS}")
        if self.new_words < 0 or self.retain < 0:
            raise ValueError("new_words and retain must be 0 or more")
        names = [monitor.name for monitor in self.monitors]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"of monitors each may stand once, and {', '.join(twice)} stands twice")

    def run(self) -> Trained:
        state = begin(self)
        made = self.prepare()
        start, module, material = made.start, made.module, made.material
        watcher = Watcher(self.watching, self._monitors(material), material, state)
        settings = _with_frozen_steps(self.training, made.plan, start.backbone.head_is_new)
        corpus, learnt = material.corpus, material.learnt
        identity = {
            "corpus": corpus.fingerprint,
            "model": start.fingerprint,
            "tokenizer": start.tokenizer.fingerprint,
            "texts": len(learnt),
            "context": made.context,
        }

        def make_batch(planned: np.ndarray, epoch: int, device: torch.device) -> object:
            return material.make_batch(learnt[planned], epoch, device)

        trained = Retaining(module, self.retain, _pooling(start.card)) if self.retain else module
        train(trained, made.plan, make_batch, settings, state, self.seed, identity, watcher)
        how = f"pre-trained with {self.objective.name} on {self.corpus.place()} (texts to {material.max_tokens} tokens)"
        inputs = {**self.corpus.inputs("corpus"), "model": self.model.label()}

        def write(folder: Path) -> None:
            _write(module, start, folder)
            watcher.finish(folder)

        finish(self, state, write, how, inputs)
        return Trained(self.output, "finetune")

    def prepare(self) -> Prepared:
        """The model, the texts and the batches as they are before the first step; nothing is written."""
        corpus = Corpus.open(self.corpus, pretraining=True)
        start = self._start(corpus)
        if self.max_tokens and self.max_tokens > start.backbone.max_tokens:
            message = f"{self.max_tokens} is more than {self.model.label()} takes: {start.backbone.max_tokens} at most"
            raise RecipeError("the recipe", [("max_tokens", message)])
        limit = self.max_tokens or min(512, start.backbone.max_tokens)
        texts = TextBatches(self.corpus, corpus, start.tokenizer, limit, self.objective.contexts(), self.seed)
        is_held = self._held_out(texts)
        torch.manual_seed(self.seed)  # the decoder's first weights
        module = self.objective.module(start.backbone, start.tokenizer, _pooling(start.card))
        _restore_decoders(module, start)
        if self.gradient_checkpointing:
            module.checkpoint_gradients()
        if module.compares and len(np.unique(texts.spans.group[texts.usable[~is_held]])) < 2:
            raise DataError(
                f"{self.corpus.place()} is a single source, and {self.objective.name} compares texts of different "
                "sources: all it has would be the right answer. Give more documents, say a file for each chapter"
            )
        lengths = np.zeros(len(texts.spans), np.int64)
        lengths[texts.usable] = texts.lengths
        material = Material(
            texts.usable[is_held],
            texts.usable[~is_held],
            lengths,
            texts,
            texts.spans,
            corpus,
            self.corpus,
            start.tokenizer,
            limit,
            self.batch_tokens,
            self.training.precision,
            self.seed,
        )
        plan = BatchPlan(lengths[material.learnt] * self.objective.readings, self.seed, self.batch_tokens)
        return Prepared(start, module, material, plan, texts.pairs.fingerprint if texts.pairs else "")

    def _start(self, corpus: Corpus) -> Start:
        start = self.model.start(corpus.texts, need_head=self.objective.needs_head, seed=self.seed)
        if self.objective.needs_head:  # what predicts tokens masks some
            start.tokenizer.id_of("mask")
        if not self.new_words:
            return start
        return start._replace(tokenizer=with_new_words(start.backbone, start.tokenizer, corpus.texts, self.new_words))

    def _held_out(self, texts: TextBatches) -> np.ndarray:
        """Which of the usable texts are held out: bool. The same sources whatever the objective; none if too few."""
        wanted = self.watching.held_out if self.monitors else 0
        found = held_out(texts.spans.group, wanted, self.seed)[texts.usable]
        return found if found.sum() >= FEWEST_TEXTS else np.zeros(len(found), bool)

    def _monitors(self, material: Material) -> tuple[Monitor, ...]:
        if self.monitors and not len(material.held_out):
            progress.note(
                f"No texts are held out, so there are no monitors: a twentieth of the corpus is fewer than "
                f"{FEWEST_TEXTS} texts (with a context, where the objective needs one), or each of its sources is "
                "larger than that"
            )
            return ()
        return self.monitors


class Prepared(NamedTuple):
    """A pre-training before its first step."""

    start: Start
    module: PretrainingModule
    material: Material
    plan: BatchPlan
    context: str
    """A fingerprint of what pairs are made of beside the corpus."""


def _restore_decoders(module: PretrainingModule, start: Start) -> None:
    """Go on with what an earlier pre-training left beside the encoder, part by part, where the make is the same."""
    wanted = _parts(module.decoder_state())
    if start.decoders is None or not wanted:
        return
    found = _parts(load_file(str(start.decoders)))
    same = [part for part in wanted if part in found and _make(wanted[part]) == _make(found[part])]
    module.load_state_dict({name: value for part in same for name, value in found[part].items()}, strict=False)
    anew = ", ".join(part for part in wanted if part not in same)
    if same:
        progress.note(f"Of the earlier pre-training goes on learning: {', '.join(same)}")
    if anew:
        progress.note(f"The earlier pre-training left nothing of the same make for this, which begins anew: {anew}")


def _parts(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the part they belong to: what stands before the first point of their names."""
    names = sorted(state, key=lambda name: name.partition(".")[0])
    return {part: {n: state[n] for n in of} for part, of in groupby(names, key=lambda name: name.partition(".")[0])}


def _make(part: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in part.items()}


def _write(module: PretrainingModule, start: Start, folder: Path) -> None:
    module.backbone.save(folder)
    start.tokenizer.save(folder, start.backbone.max_tokens)
    heads = (replace(head, pooling=module.pooling) if isinstance(head, Dense) else head for head in start.card.heads)
    replace(start.card, heads=tuple(heads)).write(folder)
    if decoders := module.decoder_state():
        save_file({name: value.contiguous() for name, value in decoders.items()}, str(folder / DECODERS))


def _pooling(card: Card) -> Pooling:
    return (card.dense.pooling if card.dense else None) or "cls"


def _with_frozen_steps(training: Training, plan: BatchPlan, head_is_new: bool) -> Training:
    if training.frozen_steps is not None:
        return training
    steps = training.steps or plan.steps(training.epochs)
    return replace(training, frozen_steps=min(_MOST_FROZEN, steps // 10) if head_is_new else 0)
