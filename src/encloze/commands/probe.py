"""Probe what an encoder knows: a linear model reads labels of texts, or tags of words, off its frozen vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze import recipe
from encloze.commands.base import Command
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.errors import RecipeError
from encloze.evaluation.labels import LabelReport, judge_labels
from encloze.models.frozen import FrozenEncoder
from encloze.models.layers.pooling import Pooling
from encloze.models.precision import Precision
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance
from encloze.training.probing import labelled_rows, linear


@dataclass(frozen=True)
class Probe(Command, name="probe"):
    """Fit a logistic regression on an encoder's frozen vectors, and judge it beside the commonest label.

    Minutes on a CPU: each text is read once, and the vectors are kept for the next probe.
    """

    dataset: Labels
    """A folder of labelled texts or tagged words: train, test and perhaps dev as .jsonl, .tsv or .conll."""
    model: str
    """The encoder: a model folder, a hub's id, or minilm."""
    split: str = "test"
    """The part to judge on."""
    pooling: Pooling | None = None
    """How a text's vector is made: cls, mean or max; by default as the checkpoint says. Words have their own."""
    max_tokens: int | None = None
    """Texts are cut to so many tokens; by default the checkpoint's limit."""
    penalties: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)
    """How much large weights cost (1/C of scikit-learn): the best on dev is taken, or by cross-validation without."""
    precision: Precision = "auto"
    """Number format of the encoder's products."""
    output: Path | None = None
    """A folder for the report and the guesses; nothing is written without one."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""
    seed: int = 0
    """Where intervals and the parts of a cross-validation are drawn from."""

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError("penalties must be one or more numbers above 0")
        if self.split == "train":
            raise ValueError("split is train, which is learnt from: judge on another part")
        if self.max_tokens is not None and self.max_tokens < 3:
            raise ValueError(f"max_tokens must be 3 or more (two tokens are special), not {self.max_tokens}")

    def run(self) -> LabelReport:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        data = LabelledSet.open(self.dataset, self.split)
        try:
            encoder = FrozenEncoder.load(self.model, self.pooling, self.max_tokens, self.precision)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        rows = labelled_rows(data, encoder)
        found = linear(rows, self.split, self.penalties, self.seed)
        codes = found.guess(rows[self.split])
        report = judge_labels(data, self.split, Path(self.model).name, codes, found.note, self.seed)
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                report.save(folder)
                made_by = recipe.dump(self, {"verb": self.name})
                write_provenance(folder, made_by, {"dataset": self.dataset.path, "model": self.model})
        return report
