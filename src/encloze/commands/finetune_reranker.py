"""Fine-tune a cross-encoder for re-ranking."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from encloze.commands._begin_run import begin_run
from encloze.commands._model_output import write_model_folder
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, TrainingResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.data.training_examples import training_examples
from encloze.errors import RecipeError
from encloze.losses.base import CandidateLoss, Loss, check_losses
from encloze.losses.listwise import Listwise
from encloze.models.cross_encoder import CrossEncoder
from encloze.settings import PositiveInt, Seed
from encloze.storage.hashes import hash_of
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.loop import train
from encloze.training.reranking import RerankingBatches, RerankingModule

_MIN_TOKENS = 8  # up to four special tokens, and some of the query and of the document


@dataclass(frozen=True)
class FinetuneReranker(Command, name="finetune_reranker"):
    """Train a cross-encoder, which scores a query and a document together, on judged queries with hard negatives.

    A cross-encoder is slower than a bi-encoder and usually more accurate.

    Raises:
        RecipeError: A setting is outside its range, or a loss needs in-batch negatives.

    Example:
        >>> FinetuneReranker(dataset="my_data", model="adapted", output="reranker", negatives="mined").run()
    """

    dataset: Format
    """Documents, queries and judgments: a folder in BEIR or MS MARCO format, or python_docs (docstrings of
    installed packages)."""
    model: str
    """Initial model: an encoder or a cross-encoder; a folder, a Hugging Face hub id, or minilm."""
    output: Path
    """Model folder to write."""
    negatives: Path
    """TREC run file of the training queries. Its documents that are not judged relevant are used as hard negatives."""
    split: str = "train"
    """Split of the queries to train on."""
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Listwise(),))
    """Losses to minimize: listwise, pairwise, pointwise; with a teacher also margin_mse and kl_divergence."""
    negatives_per_query: int = 7
    """Number of hard negatives of each query in each epoch."""
    negatives_depth: int = 100
    """Maximum rank of a hard negative in the TREC run of the setting negatives."""
    teacher: Path | None = None
    """TREC run with scores of a teacher model for relevant documents and negatives, for distillation losses."""
    layers: PositiveInt | None = None
    """Number of the model's layers to keep, evenly spaced, for a smaller and faster model; by default all."""
    max_tokens: int | None = None
    """Maximum number of tokens of a query and document together. By default the model's limit, at most 512."""
    batch_size: int = 8
    """Number of queries per step, over all processes and micro-batches. Each query is scored with its own candidates
    only."""
    training: TrainingArguments = field(default_factory=lambda: TrainingArguments(learning_rate=2e-5))
    """Optimizer, learning rate schedule, logging and checkpoints."""
    seed: Seed = 0
    """Random seed."""
    resume: bool = False
    """Resume an unfinished training run that has the same settings."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "negatives_per_query", "negatives_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.max_tokens is not None and self.max_tokens < _MIN_TOKENS:
            raise ValueError(f"max_tokens must be {_MIN_TOKENS} or more, not {self.max_tokens}")
        check_losses(self.losses, has_teacher=self.teacher is not None, has_negatives=True)
        if unsupported := [loss.name for loss in self.losses if not isinstance(loss, CandidateLoss)]:
            raise ValueError(
                f"the loss {unsupported[0]} uses in-batch negatives, which a cross-encoder does not score. Use "
                "listwise, pairwise, pointwise, margin_mse or kl_divergence"
            )

    @locks_output
    def run(self) -> TrainingResult:
        state = begin_run(self)
        dataset = DatasetSplit(self.dataset, self.split)
        negatives, teacher = (read_run(file) if file else None for file in (self.negatives, self.teacher))
        all_examples = training_examples(dataset, negatives, self.negatives_depth, teacher)
        examples = [example for _, example in all_examples if example.negatives]
        torch.manual_seed(self.seed)  # initializes a new head
        try:
            encoder = CrossEncoder.load(self.model, max_tokens=self.max_tokens)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        if self.layers:
            try:
                encoder = encoder.with_layers(self.layers)
            except ValueError as error:
                raise RecipeError("the recipe", [("layers", str(error))]) from error
        batches = RerankingBatches(
            encoder, dataset.corpus, examples, negatives=self.negatives_per_query, seed=self.seed
        )
        plan = LengthGroupedPlan(np.asarray(batches.lengths), self.seed, batch_size=self.batch_size)
        identity = {
            "corpus": dataset.corpus.fingerprint,
            "tokenizer": encoder.tokenizer.fingerprint,
            "examples": hash_of(examples),
        }
        losses = [loss for loss in self.losses if isinstance(loss, CandidateLoss)]  # all, as checked above
        train(RerankingModule(encoder, losses), plan, batches, self.training, state, self.seed, identity)
        names = " + ".join(loss.term for loss in self.losses)
        summary = f"fine-tuned for re-ranking with {names} on {self.dataset.location()} ({self.split})"
        inputs = {
            **self.dataset.inputs("dataset"),
            "model": self.model,
            "negatives": self.negatives,
            "teacher": self.teacher,
        }
        verdict = write_model_folder(self, state, encoder.save, summary, inputs, "text-ranking")
        return TrainingResult(self.output, "score", verdict=verdict)
