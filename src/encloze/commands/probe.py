"""Evaluate a frozen encoder with a linear probe (logistic regression)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze import recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.errors import RecipeError
from encloze.evaluation.labels import LabelReport, evaluate_predictions
from encloze.models.frozen import FrozenEncoder
from encloze.models.layers.pooling import Pooling
from encloze.models.precision import Precision
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.training.linear_probe import extract_features, linear_probe

_MIN_TOKENS = 3  # two special tokens and one token of the text


@dataclass(frozen=True)
class Probe(Command, name="probe"):
    """Predict labels by logistic regression on features of a frozen encoder, and evaluate the predictions.

    The baselines are the most frequent label of train and, for tagged words, the most frequent tag of each word there.

    A probe takes minutes on a CPU: each text is encoded once, and its features are cached for later probes.

    Raises:
        RecipeError: A setting is outside its range, or does not fit the model.

    Example:
        >>> report = Probe(dataset="my_labels", model="minilm").run()
    """

    dataset: LabelFormat
    """Folder of labeled texts or tagged words: train, test and optionally dev as .jsonl, .tsv or .conll."""
    model: str
    """Encoder: a model folder, a Hugging Face hub id, or minilm (all-MiniLM-L6-v2 from a Python package)."""
    split: str = "test"
    """Split on which the classifier is evaluated."""
    pooling: Pooling | None = None
    """Pooling of token vectors into the feature vector of a text: cls, mean or max; by default the pooling of the
    model. The feature vector of a tagged word is the hidden state of its first token."""
    max_tokens: int | None = None
    """Maximum number of tokens of a text; longer texts are truncated. By default the model's limit."""
    penalties: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)
    """L2 penalties to try (1 / C in scikit-learn). The best one on dev is used; if there is no dev, the best one in
    cross-validation."""
    precision: Precision = "auto"
    """Precision of matrix multiplications: float32 or bfloat16; auto selects bfloat16 if the hardware supports it."""
    output: Path | None = None
    """Folder for the report and the predictions; by default nothing is written."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    seed: Seed = 0
    """Random seed of bootstrap intervals and cross-validation folds."""

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError("penalties must be one or more numbers above 0")
        if self.split == "train":
            raise ValueError("split must not be train, which the probe is fitted on: evaluate on another split")
        if self.max_tokens is not None and self.max_tokens < _MIN_TOKENS:
            raise ValueError(
                f"max_tokens must be {_MIN_TOKENS} or more, because each text has two special tokens, "
                f"not {self.max_tokens}"
            )

    @locks_output
    def run(self) -> LabelReport:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        data = LabeledDataset.load(self.dataset, self.split)
        try:
            encoder = FrozenEncoder.load(self.model, self.pooling, self.max_tokens, self.precision)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        splits = extract_features(data, encoder)
        probe = linear_probe(splits, self.split, self.penalties, self.seed)
        predictions = probe.predict(splits[self.split])
        report = evaluate_predictions(data, self.split, Path(self.model).name, predictions, probe.note, self.seed)
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                report.save(folder)
                inputs: dict[str, Path | str | None] = {"dataset": self.dataset.path, "model": self.model}
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return report
