"""Change the model of an index while it is in use, and compare both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encloze import progress
from encloze.commands.base import Command
from encloze.commands.evaluate import Evaluate
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.encoders.base import Encoder, load_encoder
from encloze.evaluation.report import Report
from encloze.retrieval.index_folder import check_index, refuse_engine, view_entries
from encloze.retrieval.opening import encoder_finder
from encloze.retrieval.reindexing import Agreement, agreement_of, beside, build_next, cut_over
from encloze.systems.index import Index

Step = Literal["build", "cut_over", "rollback"]


@dataclass(frozen=True)
class ReindexResult:
    """Result of ``reindex``.

    Attributes:
        step: The step that was done.
        index: The index folder.
        other: The folder of the other index.
        report: Evaluation of both indexes; None without a data set.
        agreement: Agreement between the rankings of both indexes for the queries of the data set.
        caught_up: Number of documents that were changed in the other index before it took over.
    """

    step: Step
    index: Path
    other: Path
    report: Report | None = None
    agreement: Agreement | None = None
    caught_up: int = 0


@dataclass(frozen=True)
class Reindex(Command, name="reindex"):
    """Change the model of an index while it is in use.

    The step build builds an index of the same documents with the new model in the folder INDEX.next, and compares both
    on a data set. The step cut_over lets it take the place of the index in one rename, after it has caught up with the
    documents that were changed meanwhile; the old index becomes INDEX.previous. The step rollback exchanges them again.

    Example:
        >>> Reindex(index="index", model="new_model", dataset="my_data").run().agreement.overlap
        0.73
        >>> Reindex(index="index", step="cut_over").run().index
        PosixPath('index')
    """

    index: Path
    """Index folder whose model is changed."""
    step: Step = "build"
    """build, cut_over or rollback."""
    model: str | None = None
    """The new model, for the step build: a model folder, a Hugging Face hub id, or minilm."""
    dataset: Format | None = None
    """Data set on whose queries both indexes are compared after the build."""
    split: str = "test"
    """Split of the data set."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    overwrite: bool = False
    """Whether INDEX.next may be replaced by a new build."""

    def __post_init__(self) -> None:
        if (self.step == "build") != (self.model is not None):
            raise ValueError("model is needed for the step build, and only there")
        if self.dataset and self.step != "build":
            raise ValueError("a dataset is compared in the step build")

    def run(self) -> ReindexResult:
        check_index(self.index)
        refuse_engine(self.index, "reindex")
        if self.model:
            return self._build(self.model)
        role = "next" if self.step == "cut_over" else "previous"
        other = beside(self.index, role)

        def find_encoder() -> Encoder | None:
            find = encoder_finder(other, None, None, self.precision)
            return next(filter(None, map(find, view_entries(other))), None)

        caught_up = cut_over(self.index, role, find_encoder)
        left = beside(self.index, "previous" if role == "next" else "next")
        return ReindexResult(self.step, self.index, left, caught_up=caught_up)

    def _build(self, model: str) -> ReindexResult:
        encoder = load_encoder(model, self.precision)
        dataset = DatasetSplit(self.dataset, self.split) if self.dataset else None
        other = build_next(self.index, encoder, dataset, overwrite=self.overwrite)
        if self.dataset is None:
            progress.note("Give a dataset to compare both indexes on its queries")
            return ReindexResult(self.step, self.index, other)
        report = Evaluate(self.dataset, self.split, (Index(self.index), Index(other))).run()
        before, after = (system.run for system in report.systems)
        return ReindexResult(self.step, self.index, other, report, agreement_of(before, after))
