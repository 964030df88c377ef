"""Fine-tune a text classifier or a word tagger."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from encloze.commands._begin_run import begin_run
from encloze.commands._model_output import write_model_folder
from encloze.commands._output_lock import locks_output
from encloze.commands.base import ClassifierTrainingResult, Command
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.errors import RecipeError
from encloze.evaluation.labels import evaluate_predictions
from encloze.models.card import PipelineTag
from encloze.models.classifier import Classifier
from encloze.models.classifier_inputs import warn_truncated
from encloze.settings import PositiveInt, Seed
from encloze.storage.hashes import hash_of
from encloze.text.labeled import encode_labeled
from encloze.training.arguments import TrainingArguments
from encloze.training.batch_plan import LengthGroupedPlan
from encloze.training.classification import ClassifierModule, LabeledBatches
from encloze.training.loop import train

_MIN_TOKENS = 3  # two special tokens and one token of the text


@dataclass(frozen=True)
class FinetuneClassifier(Command, name="finetune_classifier"):
    """Train a text classifier or a word tagger, depending on the labels of the dataset.

    The output is a transformers model for sequence or token classification; its config.json names the labels.

    Raises:
        RecipeError: A setting is outside its range, or the model does not support it.

    Example:
        >>> FinetuneClassifier(dataset="my_labels", model="adapted", output="classifier").run()
    """

    dataset: LabelFormat
    """Folder of labeled texts or tagged words: train, test and optionally dev as .jsonl, .tsv or .conll."""
    model: str
    """Initial model: an encoder, or a classifier with the same labels; a folder, a Hugging Face hub id, or minilm."""
    output: Path
    """Model folder to write."""
    split: str = "test"
    """Split to evaluate on after training; dev is also evaluated if it exists."""
    layers: PositiveInt | None = None
    """Number of the model's layers to keep, evenly spaced, for a smaller and faster model; by default all."""
    max_tokens: int | None = None
    """Maximum number of tokens of a text; longer ones are truncated. By default the model's limit, at most 512."""
    batch_size: int = 32
    """Number of texts (sentences if words are labeled) per step, over all processes and micro-batches."""
    training: TrainingArguments = field(
        default_factory=lambda: TrainingArguments(learning_rate=1e-3, encoder_learning_rate=5e-5, epochs=3.0)
    )
    """Optimizer, learning rate schedule, logging and checkpoints. The new head has a higher learning rate than the
    encoder."""
    seed: Seed = 0
    """Random seed."""
    resume: bool = False
    """Resume an unfinished training run that has the same settings."""
    overwrite: bool = False
    """Replace an existing output."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {self.batch_size}")
        if self.split == "train":
            raise ValueError("split must not be train, which the classifier is trained on: evaluate on another split")
        if self.max_tokens is not None and self.max_tokens < _MIN_TOKENS:
            raise ValueError(
                f"max_tokens is {self.max_tokens}, but must be {_MIN_TOKENS} or more, because two of these are "
                "special tokens"
            )

    @locks_output
    def run(self) -> ClassifierTrainingResult:
        state = begin_run(self)
        data = LabeledDataset.load(self.dataset, self.split)
        torch.manual_seed(self.seed)  # initializes a new head
        of_words = data.labeled_unit == "words"
        try:
            classifier = Classifier.load(self.model, data.label_names, of_words=of_words, max_tokens=self.max_tokens)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        if self.layers:
            try:
                classifier = classifier.with_layers(self.layers)
            except ValueError as error:
                raise RecipeError("the recipe", [("layers", str(error))]) from error
        texts = {name: encode_labeled(examples, classifier.tokenizer) for name, examples in data.splits.items()}
        for name, tokens in texts.items():
            warn_truncated(tokens, classifier.tokenizer, classifier.max_tokens, name, data.truncated_label)
        batches = LabeledBatches(classifier, texts["train"], data.label_ids("train"))
        plan = LengthGroupedPlan(batches.lengths, self.seed, batch_size=self.batch_size)
        identity = {"tokenizer": classifier.tokenizer.fingerprint, "examples": hash_of(data.splits["train"])}
        train(ClassifierModule(classifier), plan, batches, self.training, state, self.seed, identity)
        reports = []
        for name in [name for name in texts if name != "train"]:
            predictions = classifier.predict(texts[name], name, self.training.precision)
            reports.append(evaluate_predictions(data, name, self.output.name, predictions, seed=self.seed))

        def write(folder: Path) -> None:
            classifier.save(folder)
            for report in reports:
                report.save(folder)

        summary = f"fine-tuned to classify the {data.labeled_unit} of {self.dataset.path}"
        pipeline_tag: PipelineTag = "token-classification" if of_words else "text-classification"
        inputs: dict[str, Path | str | None] = {"dataset": self.dataset.path, "model": self.model}
        write_model_folder(self, state, write, summary, inputs, pipeline_tag)
        return ClassifierTrainingResult(self.output, tuple(reports))
