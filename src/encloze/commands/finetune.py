"""Fine-tune an encoder for retrieval on queries with relevant documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import PartialState

from encloze import progress
from encloze.commands._begin_run import begin_run
from encloze.commands._finetuning_effect import FinetuningEffect
from encloze.commands._mined_negatives import mine_negatives
from encloze.commands._model_output import write_model_folder
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, TrainingResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.data.training_examples import training_examples
from encloze.errors import RecipeError
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.losses.base import Loss, check_losses
from encloze.losses.contrastive import Contrastive
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.origins.base import Origin
from encloze.reporting.verdicts import EFFECT_FILE
from encloze.retrieval.tuning_queries import chosen_tuning
from encloze.settings import Seed
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import write_json
from encloze.training.arguments import TrainingArguments
from encloze.training.logit_bias import calibrate_logit_bias, check_regularizers
from encloze.training.loop import train
from encloze.training.query_augmentation import QueryAugmentation
from encloze.training.random_batches import RandomPlan
from encloze.training.retrieval import RetrievalModule
from encloze.training.retrieval_batches import RetrievalBatches

_MIN_TOKENS = 3  # two special tokens and one token of the text


@dataclass(frozen=True)
class Finetune(Command, name="finetune"):
    """Train a bi-encoder on judged queries, with in-batch negatives and, if given, hard negatives.

    Raises:
        RecipeError: A setting is outside its range, or a loss cannot be computed from the heads.

    Example:
        >>> Finetune(dataset="my_data", model="adapted", output="retriever", losses=["contrastive"]).run()
    """

    dataset: Format
    """Documents, queries and judgments: a folder in BEIR or MS MARCO format, or python_docs (docstrings of
    installed packages)."""
    model: Origin
    """Initial model: a model folder, minilm, or a Hugging Face hub id."""
    output: Path
    """Model folder to write."""
    split: str = "train"
    """Split of the queries to train on."""
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Contrastive(),))
    """Losses to minimize; their weighted sum is the objective."""
    heads: tuple[Head, ...] = ()
    """Heads of the model: dense (embeddings), sparse (term weights), or both. By default those of the initial model."""
    negatives: Path | None = None
    """TREC run file of the training queries. Its documents that are not judged relevant are used as hard negatives."""
    mine_negatives: bool = False
    """Mine hard negatives before training, with BM25 and the initial model (see the command mine), unless the setting
    negatives is set."""
    negatives_per_query: int = 1
    """Number of hard negatives of each query in each epoch; requires the setting negatives or mine_negatives."""
    negatives_depth: int = 200
    """Maximum rank of a hard negative in the TREC run of the setting negatives."""
    teacher: Path | None = None
    """TREC run with scores of a teacher model for relevant documents and negatives, for distillation losses."""
    query_augmentations: tuple[QueryPerturbation, ...] = ()
    """Kinds of random changes to training queries: typos, dropped (omitted letters), case, ... Each augmented query
    gets one of them, chosen at random."""
    augmentation_probability: float = 0.5
    """Probability that a query is augmented in an epoch, if query_augmentations is set; drawn again in each epoch."""
    query_prompt: str | None = None
    """Text to put before every query; by default the query prompt of the initial model."""
    document_prompt: str | None = None
    """Text to put before every document; by default the document prompt of the initial model."""
    max_query_tokens: int | None = None
    """Maximum number of tokens of a query; longer ones are truncated. By default the initial model's limit."""
    max_document_tokens: int | None = None
    """Maximum number of tokens of a document; longer ones are truncated. By default the initial model's limit."""
    batch_size: int = 32
    """Number of queries per step, over all processes and micro-batches. The documents of all other queries serve as
    in-batch negatives."""
    training: TrainingArguments = field(default_factory=lambda: TrainingArguments(learning_rate=2e-5))
    """Optimizer, learning rate schedule, logging and checkpoints."""
    evaluate_on: str | None = "auto"
    """Split on whose queries the initial and the fine-tuned model are compared by nDCG@10; it must differ from split.
    auto: dev or validation, if the data set has one of them. null: no comparison."""
    merge_weights: tuple[float, ...] = ()
    """Merged models to compare on evaluate_on, too, for example 0.25,0.5,0.75. With 0.25, the parameters of the merged
    model are 0.25 times those of the fine-tuned model plus 0.75 times those of the initial model."""
    keep: Literal["last", "best"] = "last"
    """Model to write. last: the fine-tuned model. best: the model with the highest nDCG@10 on evaluate_on among the
    initial, the fine-tuned and the merged models."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory; results are identical."""
    seed: Seed = 0
    """Random seed."""
    resume: bool = False
    """Resume an unfinished training run that has the same settings."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be 2 or more for in-batch negatives, not {self.batch_size}")
        has_negatives = (self.negatives is not None or self.mine_negatives) and self.negatives_per_query > 0
        check_losses(self.losses, has_teacher=self.teacher is not None, has_negatives=has_negatives)
        if self.heads:
            EncoderConfig(self.heads)  # raises ValueError if the heads cannot be combined
            self._check_losses(self.heads, {head.view: getattr(head, "dim", None) for head in self.heads})
        for name in ("max_query_tokens", "max_document_tokens"):
            limit = getattr(self, name)
            if limit is not None and limit < _MIN_TOKENS:
                raise ValueError(
                    f"{name} is {limit}, but must be {_MIN_TOKENS} or more: two of the tokens are special tokens"
                )
        if self.negatives_per_query < 0 or self.negatives_depth < 1:
            raise ValueError("negatives_per_query must be 0 or more, and negatives_depth 1 or more")
        if not 0 < self.augmentation_probability <= 1:
            raise ValueError(
                f"augmentation_probability must be above 0 and at most 1, not {self.augmentation_probability}"
            )
        if self.evaluate_on == self.split:
            raise ValueError(f"evaluate_on is the split {self.split!r} that is trained on. Set it to another split")
        if any(not 0 < weight < 1 for weight in self.merge_weights):
            raise ValueError(
                "merge_weights must be above 0 and below 1. The initial and the fine-tuned model (weights 0 and 1) are "
                "compared in any case"
            )
        if self.evaluate_on is None and (self.merge_weights or self.keep == "best"):
            raise ValueError("merge_weights and keep: best need evaluate_on, a split with judged queries")
        if self.training.freeze_encoder_steps:
            raise ValueError(
                "training.freeze_encoder_steps must be 0: fine-tuning trains all weights from the first step. If a "
                "new head needs a higher learning rate, set training.encoder_learning_rate lower"
            )

    @locks_output
    def run(self) -> TrainingResult:
        state = begin_run(self)
        dataset = DatasetSplit(self.dataset, self.split)
        encoder = self._build_encoder(dataset)
        identity = {"corpus": dataset.corpus.fingerprint, "tokenizer": encoder.tokenizer.fingerprint}
        negatives_file = self.negatives
        if self.mine_negatives and not negatives_file:
            state.open(identity)
            negatives_file = mine_negatives(dataset, self.model, state, self.seed)
        negatives, teacher = (read_run(file) if file else None for file in (negatives_file, self.teacher))
        examples = [example for _, example in training_examples(dataset, negatives, self.negatives_depth, teacher)]
        augmentation = None
        if self.query_augmentations:
            augmentation = QueryAugmentation(self.query_augmentations, self.augmentation_probability, self.seed)
        batches = RetrievalBatches(
            encoder,
            dataset.corpus,
            examples,
            negatives=self.negatives_per_query,
            seed=self.seed,
            augmentation=augmentation,
        )
        if len(np.unique(batches.relevance.text_ids)) < 2 and negatives is None:
            progress.warn(
                "all training queries have the same relevant document, so their batches have no negatives and the "
                "model learns nothing. Set negatives (encloze mine)"
            )
        plan = RandomPlan(batches.lengths, self.seed, self.batch_size, batches.relevance)
        identity["examples"] = hash_of(examples)
        module = RetrievalModule(encoder, self.losses, batches.relevance)
        effect = self._begin_effect(encoder, dataset)
        train(module, plan, batches, self.training, state, self.seed, identity)
        calibrate_logit_bias(module, batches)
        comparison = effect.finish(encoder) if effect else None
        losses = " + ".join(loss.term for loss in self.losses)
        summary = f"fine-tuned with {losses} on {self.dataset.location()} ({self.split})"
        inputs = {
            **self.dataset.inputs("dataset"),
            "model": self.model.label(),
            "negatives": self.negatives,
            "teacher": self.teacher,
        }

        def write(folder: Path) -> None:
            encoder.save(folder)
            if comparison:
                write_json(folder / EFFECT_FILE, comparison)

        verdict = write_model_folder(self, state, write, summary, inputs)
        return TrainingResult(self.output, "index", verdict=verdict)

    def _begin_effect(self, encoder: BiEncoder, dataset: DatasetSplit) -> FinetuningEffect | None:
        """Evaluate the initial model on ``evaluate_on``. Returns None without a split, and outside the main process."""
        judged = chosen_tuning(dataset, self.evaluate_on)
        if judged is None and (self.merge_weights or self.keep == "best"):
            message = f"{self.dataset.location()} has no split dev or validation with other queries. Name another split"
            raise RecipeError("the recipe", [("evaluate_on", message)])
        if judged is not None and len(judged.queries) < 2:
            message = "a comparison needs two queries with a relevant document in the collection, and there is one"
            raise RecipeError("the recipe", [("evaluate_on", message)])
        if judged is None or not PartialState().is_main_process:
            return None
        keep_best = self.keep == "best"
        return FinetuningEffect(encoder, judged, self.merge_weights, keep_best=keep_best, seed=self.seed)

    def _build_encoder(self, dataset: DatasetSplit) -> BiEncoder:
        """Return the bi-encoder to train; raise RecipeError if a loss cannot be computed from its heads."""
        needs_mlm_head = any(head.needs_mlm_head for head in self.heads)
        initial = self.model.load(dataset.corpus.texts, require_mlm_head=needs_mlm_head, seed=self.seed)
        encoder = BiEncoder(
            initial.backbone, initial.tokenizer, self._encoder_config(initial.config), initial.head_weights
        )
        heads = encoder.config.heads
        try:
            self._check_losses(heads, encoder.views)  # again, because heads and dimensions may be the initial model's
        except ValueError as error:
            raise RecipeError("the recipe", [("losses", str(error))]) from error
        head = heads[0] if len(heads) == 1 else None
        cosine_scale = head.weight if isinstance(head, Dense) and head.normalize else 0.0
        for message in filter(None, (loss.configuration_warnings(cosine_scale) for loss in self.losses)):
            progress.warn(message)
        if encoder.config.needs_mlm_head and initial.backbone.mlm_head_is_new:
            progress.warn(
                f"the sparse representation uses the language modeling head, but the head of {self.model.label()} is "
                "randomly initialized: retrieval quality will be low. Pre-train the model first with encloze pretrain "
                "--objective mlm"
            )
        if self.gradient_checkpointing:
            initial.backbone.enable_gradient_checkpointing()
        return encoder

    def _check_losses(self, heads: tuple[Head, ...], dims: Mapping[str, int | None]) -> None:
        """Raise ValueError if a loss cannot be computed from the outputs of the heads.

        ``dims`` maps ``dense`` and ``sparse`` to numbers of dimensions, which are None if they are not known yet.
        """
        for loss in self.losses:
            loss.check_views(dims)
        check_regularizers(self.losses, heads)

    def _encoder_config(self, config: EncoderConfig) -> EncoderConfig:
        """Return the initial model's configuration, with the heads, prompts and maximum tokens of the settings."""
        names = ("query_prompt", "document_prompt", "max_query_tokens", "max_document_tokens")
        changes: dict[str, Any] = {name: getattr(self, name) for name in names}
        config = config.normalized()
        return replace(
            config,
            heads=tuple(head.with_defaults(config.dense) for head in self.heads) or config.heads,
            **{name: value for name, value in changes.items() if value is not None},
        )
