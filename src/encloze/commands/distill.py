"""Train a smaller encoder, the student, to compute the vectors of a larger one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from accelerate import PartialState

from encloze import progress
from encloze.backbones.hf.smaller_models import number_of_layers, with_fewer_layers
from encloze.commands._begin_run import begin_run
from encloze.commands._finetuning_effect import difference
from encloze.commands._model_output import write_model_folder
from encloze.commands._output_lock import locks_output
from encloze.commands._retrieval_sample import MEASURE, RetrievalSample
from encloze.commands.base import Command, TrainingResult
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.encoders.torch import TorchEncoder
from encloze.errors import CheckpointError, RecipeError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import is_cross_encoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import TOKEN_WEIGHTS, Dense
from encloze.models.origins.base import InitialModel, Origin
from encloze.models.origins.pretrained import Pretrained
from encloze.reporting.verdicts import EFFECT_FILE
from encloze.retrieval.tuning_queries import chosen_tuning
from encloze.settings import Range, Seed
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import write_json
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.distillation import DistillationBatches, DistillationModule, TeacherVectors
from encloze.training.loop import train
from encloze.training.static_queries import short_texts, token_embeddings


@dataclass(frozen=True)
class Distill(Command, name="distill"):
    """Train a smaller, faster encoder to compute the vectors of a larger one. Texts need no judgments.

    Example:
        >>> Distill(teacher="retriever", corpus="my_data", output="student").run()
    """

    teacher: str
    """Encoder whose vectors are learned: a model folder, a Hugging Face hub id, or minilm."""
    corpus: Format
    """Texts to train on: the documents of a file or folder in any known format, and its queries, if it has any."""
    output: Path
    """Model folder to write."""
    layers: Annotated[int, Range(ge=1)] | None = None
    """Number of layers of the student. They are layers of the teacher, evenly spaced. By default half of them."""
    student: Origin | None = None
    """Initial model of the student, in place of layers of the teacher: another encoder, or scratch. If its embeddings
    have another size than the teacher's, a projection to that size is trained, too."""
    query_encoding: Literal["encoder", "static"] = "encoder"
    """static: documents are encoded by the teacher itself, and queries by the mean of embeddings of their tokens, which
    are trained on queries and on titles and short passages of documents. Queries then need no encoder. Embeddings of
    tokens need a higher learning rate than an encoder, such as --training.learning_rate 0.005."""
    max_texts: Annotated[int, Range(ge=1)] = 200_000
    """Maximum number of queries, titles and passages that static queries are trained on."""
    split: str | None = "auto"
    """Split whose queries are trained on in addition to the documents. auto: train, if the data has it. null: train on
    documents only."""
    batch_size: Annotated[int, Range(ge=1)] = 32
    """Number of texts per step, over all processes and micro-batches."""
    training: TrainingArguments = field(default_factory=lambda: TrainingArguments(learning_rate=5e-4, epochs=4.0))
    """Optimizer, learning rate schedule, logging and checkpoints."""
    evaluate_on: str | None = "auto"
    """Split on whose queries teacher and student are compared by nDCG@10; it must differ from split. auto: dev or
    validation, if the data has one of them. null: no comparison."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory; results are identical."""
    seed: Seed = 0
    """Random seed."""
    resume: bool = False
    """Resume an unfinished training run that has the same settings."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        if self.layers is not None and self.student is not None:
            raise ValueError("layers are layers of the teacher, and student names another model. Give one of the two")
        if self.query_encoding == "static" and (self.layers is not None or self.student is not None):
            raise ValueError("with static queries, documents are encoded by the teacher. Leave out layers and student")
        if self.evaluate_on is not None and self.evaluate_on == self.split != "auto":
            raise ValueError(f"evaluate_on is the split {self.split!r} that is trained on. Set it to another split")
        if self.training.freeze_encoder_steps:
            raise ValueError("training.freeze_encoder_steps must be 0: distillation trains all weights")

    @locks_output
    def run(self) -> TrainingResult:
        state, processes = begin_run(self), PartialState()
        if is_cross_encoder(self.teacher):
            raise CheckpointError(f"{self.teacher} is a re-ranker or a classifier. Give an encoder as teacher")
        queries, judged = self._training_queries(), self._judged_queries()
        corpus, teacher = Corpus.from_format(self.corpus), BiEncoder.load(self.teacher)
        documents: Corpus | None = corpus
        if self.query_encoding == "static":
            student, documents = self._with_static_queries(teacher), None
            queries = short_texts(corpus, queries, self.max_texts, self.seed)
        else:
            student = self._build_student(corpus, teacher)
        identity = {
            "corpus": corpus.fingerprint,
            "queries": hash_of(queries),
            "teacher": teacher.fingerprint,
            "tokenizer": student.tokenizer.fingerprint,
        }
        if processes.is_main_process:
            state.open(identity)
        with processes.main_process_first():  # the others read the vectors from the cache
            file = state.folder / f"teacher-{processes.process_index}.npy"
            views = ("dense", "sparse") if documents else ("dense",)
            targets = TeacherVectors(TorchEncoder(teacher), documents, queries, file, views)
        batches = DistillationBatches(student, documents, queries, targets)
        module = DistillationModule(student, targets.scales)
        plan = LengthGroupedPlan(batches.lengths, self.seed, batch_size=self.batch_size)
        train(module, plan, batches, self.training, state, self.seed, identity)
        effect = _compare(teacher, student, judged, self.seed) if judged and processes.is_main_process else None

        def write(folder: Path) -> None:
            student.save(folder)
            if effect:
                write_json(folder / EFFECT_FILE, effect)

        summary = f"distilled from {self.teacher} on {self.corpus.location()} ({_size_of(student)})"
        label = self.student.label() if self.student else None
        inputs = {**self.corpus.inputs("corpus"), "teacher": self.teacher, "student": label}
        verdict = write_model_folder(self, state, write, summary, inputs)
        return TrainingResult(self.output, "index", verdict=verdict)

    def _training_queries(self) -> list[str]:
        """Return the queries to train on, in addition to the documents."""
        splits = self.corpus.splits()
        split = ("train" if "train" in splits else None) if self.split == "auto" else self.split
        if split is None:
            return []
        queries = [query.text for query in DatasetSplit(self.corpus, split).queries]
        progress.note(f"Training on the documents and on {len(queries):,} queries of {split}")
        return queries

    def _judged_queries(self) -> DatasetSplit | None:
        """Return the queries on which teacher and student are compared."""
        dataset = DatasetSplit(self.corpus, "train" if self.split in (None, "auto") else self.split)
        return chosen_tuning(dataset, self.evaluate_on)

    def _build_student(self, corpus: Corpus, teacher: BiEncoder) -> BiEncoder:
        origin = self.student or Pretrained(self.teacher)
        needs_mlm_head = teacher.config.needs_mlm_head
        initial = origin.load(corpus.texts, require_mlm_head=needs_mlm_head, seed=self.seed)
        torch.manual_seed(self.seed)  # initializes a new projection
        if self.student:
            config, head_weights = self._config_of_other(initial, teacher), None
        else:
            initial, config, head_weights = self._with_fewer_layers(initial), initial.config, initial.head_weights
        student = BiEncoder(initial.backbone, initial.tokenizer, config, head_weights)
        if self.gradient_checkpointing:
            student.backbone.enable_gradient_checkpointing()
        progress.note(f"The student has {_size_of(student)}, the teacher {_size_of(teacher)}")
        return student

    def _with_static_queries(self, teacher: BiEncoder) -> BiEncoder:
        """Return a copy of the teacher with static queries. Its encoder is not trained."""
        heads = [replace(head, query_encoding="static") if isinstance(head, Dense) else head
                 for head in teacher.config.heads]  # fmt: skip
        if not teacher.config.dense or any(head.needs_hidden_states("query") for head in heads):
            message = "static queries replace embeddings, and this teacher encodes queries to term weights, too"
            raise RecipeError("the recipe", [("query_encoding", message)])
        initial = Pretrained(self.teacher).load(lambda: iter(()), require_mlm_head=False, seed=self.seed)
        config, weights = replace(teacher.config, heads=tuple(heads)), initial.head_weights or {}
        named = {name.replace("dense.", "dense.projection."): value for name, value in weights.items()}
        named[f"dense.{TOKEN_WEIGHTS}"] = token_embeddings(teacher)
        student = BiEncoder(initial.backbone, initial.tokenizer, config, named)
        student.backbone.requires_grad_(False)
        student.head_modules.requires_grad_(False)
        for name, parameter in student.head_modules.named_parameters():
            parameter.requires_grad_(name.endswith(TOKEN_WEIGHTS))
        return student

    def _with_fewer_layers(self, initial: InitialModel) -> InitialModel:
        backbone = initial.backbone
        try:
            model = with_fewer_layers(backbone.model, self.layers or max(1, number_of_layers(backbone.model) // 2))
        except ValueError as error:
            raise RecipeError("the recipe", [("layers", str(error))]) from error
        smaller = type(backbone)(model, has_mlm_head=backbone.has_mlm_head)
        return initial._replace(backbone=smaller)

    def _config_of_other(self, initial: InitialModel, teacher: BiEncoder) -> EncoderConfig:
        """Return the configuration of a student that is not a part of the teacher.

        It has the heads of the teacher, with the pooling and the prompts of the student.
        """
        own, limit = initial.config, initial.backbone.max_tokens
        if "sparse" in teacher.views and (
            initial.tokenizer.backend.get_vocab() != teacher.tokenizer.backend.get_vocab()
        ):
            message = "its vocabulary differs from that of the teacher, whose term weights have one number per token"
            raise RecipeError("the recipe", [("student", message)])
        heads = list[Head]()
        for head in teacher.config.heads:
            if isinstance(head, Dense):
                dim = teacher.views["dense"]
                pooling = (own.dense.pooling if own.dense else None) or head.pooling
                projection = dim if dim != initial.backbone.hidden_size else None
                heads.append(Dense(pooling, head.normalize, projection, weight=head.weight))
            else:
                heads.append(head)
        return replace(
            teacher.config,
            heads=tuple(heads),
            query_prompt=own.query_prompt,
            document_prompt=own.document_prompt,
            max_query_tokens=min(teacher.config.max_query_tokens, limit),
            max_document_tokens=min(teacher.config.max_document_tokens, limit),
        )


def _compare(teacher: BiEncoder, student: BiEncoder, judged: DatasetSplit, seed: int) -> dict[str, Any]:
    """Evaluate teacher and student on judged queries; return the means and the difference with its interval."""
    sample = RetrievalSample(judged, seed)
    progress.note(f"Evaluating teacher and student on {len(sample.queries)} queries of {sample.name}")
    values = {"teacher": sample.evaluate(teacher), "student": sample.evaluate(student)}
    return {
        "split": sample.name,
        "queries": len(sample.queries),
        "documents": len(sample.documents),
        "measure": MEASURE,
        "means": {name: float(of_model.mean()) for name, of_model in values.items()},
        "difference": difference(values["student"], values["teacher"]),
    }


def _size_of(model: BiEncoder) -> str:
    parameters = sum(parameter.numel() for parameter in model.backbone.encoder.parameters()) / 1e6
    return f"{model.backbone.config.num_hidden_layers} layers and {parameters:.1f} million parameters"
