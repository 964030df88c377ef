"""Pre-train an encoder on plain text, without queries or judgments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from encloze import progress
from encloze.commands._begin_run import begin_run
from encloze.commands._model_output import write_model_folder
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, TrainingResult
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError, RecipeError
from encloze.models.checkpoint import DECODERS, HEADS
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling
from encloze.models.origins.base import InitialModel, Origin
from encloze.models.pretraining_module import PretrainingModule
from encloze.models.sentence_transformers import write_sentence_transformers_files
from encloze.models.vocabulary import add_frequent_words
from encloze.objectives.base import Objective
from encloze.settings import Seed
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import BatchPlan, LengthGroupedPlan
from encloze.training.decoders import load_decoders
from encloze.training.embedding_distillation import EmbeddingDistillation
from encloze.training.loop import train
from encloze.training.monitors.base import Monitor, PretrainingData
from encloze.training.pretraining_batches import MIN_TOKENS, PretrainingBatches
from encloze.training.validation import (
    MIN_HELD_OUT_TEXTS,
    ValidationSettings,
    Validator,
    default_monitors,
    select_held_out,
)

_MAX_FREEZE_STEPS = 100
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class Pretrain(Command, name="pretrain"):
    """Adapt an encoder to a corpus, or train a new encoder, as a first stage before fine-tuning.

    Raises:
        RecipeError: A setting is outside its range, or does not fit the model.

    Example:
        >>> Pretrain(corpus="my_texts", model="minilm", objective="retromae", output="adapted").run()
    """

    corpus: Format
    """Plain text: a folder or file in any supported format, or python_docs (docstrings of installed packages)."""
    model: Origin
    """Initial model: minilm, a model folder, a Hugging Face hub id, or scratch for random weights."""
    objective: Objective
    """Pre-training objective, such as retromae. The command encloze list objectives lists all of them."""
    output: Path
    """Folder to which the pre-trained model is written."""
    max_tokens: int | None = None
    """Maximum number of tokens of a text; longer texts are split. By default the model's limit, at most 512."""
    new_words: int = 0
    """Number of words to add to the vocabulary: frequent words of the corpus that the tokenizer splits into many
    tokens."""
    batch_tokens: int = 8192
    """Maximum number of tokens in a batch, including padding. With several processes, this is the sum over all
    processes."""
    training: TrainingArguments = field(default_factory=TrainingArguments)
    """Optimizer, learning rate schedule, logging and checkpoints."""
    embedding_distillation: float = 0.0
    """Weight of an additional loss: 1 - cosine similarity between the embeddings of the trained and the initial model.
    Set it if the initial model already retrieves well, so that training changes its embeddings less. A weight above 0
    requires two additional encoder passes per batch."""
    monitors: tuple[Monitor, ...] = field(default_factory=default_monitors)
    """Metrics to compute on held-out texts during training: held_out, bottleneck, embeddings, retrieval, vocabulary."""
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    """How often the metrics in monitors are computed, and which metric determines the training step whose weights are
    saved."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory; results are identical."""
    seed: Seed = 0
    """Seed of all random choices in the training."""
    resume: bool = False
    """Whether to continue an unfinished pretrain command with the same settings."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or (self.max_tokens is not None and self.max_tokens < MIN_TOKENS):
            raise ValueError(f"batch_tokens must be above 0 and max_tokens at least {MIN_TOKENS}")
        if self.new_words < 0 or self.embedding_distillation < 0:
            raise ValueError("new_words and embedding_distillation must be 0 or more")
        names = [monitor.name for monitor in self.monitors]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"monitors must not be repeated: {', '.join(duplicates)}")

    @locks_output
    def run(self) -> TrainingResult:
        state = begin_run(self)
        prepared = self.prepare()
        initial, module, data = prepared.initial, prepared.module, prepared.data
        trained: PretrainingModule = module
        if self.embedding_distillation:
            trained = EmbeddingDistillation(module, self.embedding_distillation, _pooling(initial.config))
        validator = Validator(self.validation, self._usable_monitors(data), data, state, trained)
        identity = {
            "corpus": data.corpus.fingerprint,
            "model": initial.fingerprint,
            "tokenizer": initial.tokenizer.fingerprint,
            "texts": len(data.training),
            "context": prepared.context_fingerprint,
        }

        def make_batch(indices: np.ndarray, epoch: int, device: torch.device) -> object:
            return data.make_batch(data.training[indices], epoch, device)

        arguments = self._training_arguments(prepared.plan, initial.backbone.mlm_head_is_new)
        train(trained, prepared.plan, make_batch, arguments, state, self.seed, identity, validator)
        summary = f"pre-trained with {self.objective.name} on {self.corpus.location()} (max_tokens {data.max_tokens})"
        inputs = {**self.corpus.inputs("corpus"), "model": self.model.label()}

        def write(folder: Path) -> None:
            _write_model(module, initial, folder)
            validator.copy_records(folder)

        verdict = write_model_folder(self, state, write, summary, inputs, "feature-extraction")
        return TrainingResult(self.output, "finetune", verdict=verdict)

    def prepare(self) -> PreparedPretraining:
        """Load the model and the texts, and plan the batches, without training or writing anything.

        Raises:
            RecipeError: ``max_tokens`` exceeds the limit of the model.
            DataError: The corpus has no usable texts, or the objective needs documents that were cut from different
                longer texts, and all were cut from the same one.
        """
        corpus = Corpus.from_format(self.corpus, pretraining=True)
        initial = self._load_model(corpus)
        limit = initial.backbone.max_tokens
        if self.max_tokens and self.max_tokens > limit:
            message = f"{self.max_tokens} exceeds the limit of {self.model.label()}, which is {limit}"
            raise RecipeError("the recipe", [("max_tokens", message)])
        max_tokens, pairs = self.max_tokens or min(_DEFAULT_MAX_TOKENS, limit), self.objective.pair_source()
        batches = PretrainingBatches(self.corpus, corpus, initial.tokenizer, max_tokens, pairs, self.seed)
        sources, usable = batches.spans.source_numbers, batches.usable
        is_held_out = select_held_out(sources, usable, self.validation.max_texts if self.monitors else 0, self.seed)
        torch.manual_seed(self.seed)  # initializes the decoder
        module = self.objective.build_module(initial.backbone, initial.tokenizer, _pooling(initial.config))
        if initial.decoders is not None:
            load_decoders(module, initial.decoders)
        if self.gradient_checkpointing:
            module.enable_gradient_checkpointing()
        if module.has_global_losses and len(np.unique(sources[usable[~is_held_out]])) < 2:
            raise DataError(
                f"{self.corpus.location()} has a single source (the longer text that its documents were cut from), but "
                f"{self.objective.name} contrasts texts of different sources. Add documents, for example one file per "
                "chapter"
            )
        lengths = np.zeros(len(batches.spans), np.int64)
        lengths[usable] = batches.lengths
        data = PretrainingData(
            held_out=usable[is_held_out],
            training=usable[~is_held_out],
            lengths=lengths,
            make_batch=batches,
            spans=batches.spans,
            corpus=corpus,
            format=self.corpus,
            tokenizer=initial.tokenizer,
            max_tokens=max_tokens,
            batch_tokens=self.batch_tokens,
            precision=self.training.precision,
            seed=self.seed,
        )
        plan = LengthGroupedPlan(lengths[data.training] * self.objective.encoder_passes, self.seed, self.batch_tokens)
        context_fingerprint = batches.pairs.fingerprint if batches.pairs else ""
        return PreparedPretraining(initial, module, data, plan, context_fingerprint)

    def _load_model(self, corpus: Corpus) -> InitialModel:
        initial = self.model.load(corpus.texts, require_mlm_head=self.objective.needs_mlm_head, seed=self.seed)
        if self.objective.needs_mlm_head:
            initial.tokenizer.special_id("mask")  # raises CheckpointError if there is none
        if not self.new_words:
            return initial
        tokenizer = add_frequent_words(initial.backbone, initial.tokenizer, corpus.texts, self.new_words)
        return initial._replace(tokenizer=tokenizer)

    def _usable_monitors(self, data: PretrainingData) -> tuple[Monitor, ...]:
        """Return the monitors. If no text could be held out, report this to the user and return no monitors."""
        if self.monitors and not len(data.held_out):
            progress.note(
                f"No monitors run, because fewer than {MIN_HELD_OUT_TEXTS} texts can be held out. At most "
                "5 % of the texts that the objective can use are held out, and texts that were cut from the same "
                "document are either all held out or all used for training. Add documents to use monitors"
            )
            return ()
        return self.monitors

    def _training_arguments(self, plan: BatchPlan, has_new_head: bool) -> TrainingArguments:
        """Return the training arguments, with ``freeze_encoder_steps`` filled in if it is not set.

        If the MLM head is new, ``freeze_encoder_steps`` is 10 % of the training steps, at most 100; otherwise it is 0.
        """
        if self.training.freeze_encoder_steps is not None:
            return self.training
        steps = self.training.steps or plan.steps(self.training.epochs)
        freeze_steps = min(_MAX_FREEZE_STEPS, steps // 10) if has_new_head else 0
        return replace(self.training, freeze_encoder_steps=freeze_steps)


class PreparedPretraining(NamedTuple):
    """Model, texts and division of the texts into batches, as they are before the first step of pre-training."""

    initial: InitialModel
    module: PretrainingModule
    data: PretrainingData
    plan: BatchPlan
    context_fingerprint: str
    """Fingerprint of the files, such as files of queries, from which the objective reads the second text of each pair
    of training texts. Empty if all texts are read from the corpus."""


def _write_model(module: PretrainingModule, initial: InitialModel, folder: Path) -> None:
    """Write encoder, tokenizer, configuration and decoders into ``folder``."""
    module.backbone.save(folder)
    backbone = initial.backbone
    initial.tokenizer.save(folder, backbone.max_tokens, with_token_types=backbone.has_token_types)
    config = initial.config
    heads = (replace(head, pooling=module.pooling) if isinstance(head, Dense) else head for head in config.heads)
    config = replace(config, heads=tuple(heads))
    config.write(folder)
    if weights := dict(initial.head_weights or {}):
        save_file(weights, str(folder / HEADS))
    write_sentence_transformers_files(folder, config, module.backbone.hidden_size, weights)
    if decoders := module.decoder_state():
        save_file({name: value.contiguous() for name, value in decoders.items()}, str(folder / DECODERS))


def _pooling(config: EncoderConfig) -> Pooling:
    return (config.dense.pooling if config.dense else None) or "cls"
