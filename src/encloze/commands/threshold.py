"""Choose the scores below which an index reports that it has no answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encloze import recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Query
from encloze.evaluation.answers import AnswerReport
from encloze.retrieval.answer_tuning import tune_answer_threshold
from encloze.retrieval.changes import set_answer_threshold
from encloze.retrieval.index_folder import refuse_engine
from encloze.retrieval.retriever import Retriever
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance


@dataclass(frozen=True)
class Threshold(Command, name="threshold"):
    """Choose the scores below which an index reports that it has no answer, at a wanted rate of false answers.

    The threshold is stored in the index. A search then also returns the probability that the index answers the query,
    and whether it is high enough. It is fitted to the highest scores that each index gives to documents, for queries
    with and without an answer. Choose it again after the collection or its queries have changed much.

    Example:
        >>> Threshold(index="index", dataset="my_data", false_answer_rate=0.05).run().missed_answers.mean
        0.31
    """

    index: Path
    """Index folder, written by the command index. The threshold is stored in it."""
    dataset: Format
    """Data set with judged queries over the documents of the index. They are the queries with an answer."""
    split: str = "dev"
    """Split of these queries. It should not be the split that you evaluate on later."""
    unanswerable: Format | None = None
    """Data set with queries that the index does not answer, such as those on another subject that users ask. By
    default, the queries of the setting split are searched again as if their relevant documents were not in the index:
    queries on the same subject, which are harder to distinguish."""
    unanswerable_split: str | None = None
    """Split with queries that the index does not answer, of the data set unanswerable, or else of dataset. Their
    judgments may have the grade 0 only. By default all queries of the data set unanswerable are used."""
    false_answer_rate: float = 0.05
    """Wanted share of the queries without an answer for which a search reports an answer, above 0 and below 1."""
    model: str | None = None
    """Path of the model that built the index. Required only if the model has been moved since then."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    output: Path | None = None
    """Folder for the measured rates, which the command report draws; by default only the index is changed."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    seed: Seed = 0
    """Seed of the assignment of queries to the folds of the cross-validation."""

    def __post_init__(self) -> None:
        if not 0 < self.false_answer_rate < 1:
            raise ValueError(f"false_answer_rate must be above 0 and below 1, not {self.false_answer_rate:g}")

    @locks_output
    def run(self) -> AnswerReport:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        refuse_engine(self.index, "threshold")
        judged = DatasetSplit(self.dataset, self.split)
        unanswerable, origin = self._unanswerable()
        retriever = Retriever.load(self.index, encoder=self.model, precision=self.precision)
        judged.corpus = retriever.corpus  # the documents of the data set need not be read
        threshold, report = tune_answer_threshold(
            retriever, judged, unanswerable, origin, self.false_answer_rate, self.seed
        )
        set_answer_threshold(self.index, threshold)
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                report.save(folder)
                inputs = {**self.dataset.inputs("dataset"), "model": self.model}
                if self.unanswerable:
                    inputs |= self.unanswerable.inputs("unanswerable")
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return report

    def _unanswerable(self) -> tuple[list[Query] | None, str]:
        """Return the queries without an answer, and where they come from. None for queries without their documents."""
        source = self.unanswerable or self.dataset
        if self.unanswerable_split:
            split = DatasetSplit(source, self.unanswerable_split)
            return split.queries, f"{self.unanswerable_split} of {Path(source.location()).name}"
        if self.unanswerable:
            name = Path(source.location()).name
            return list(DatasetSplit(source, "").all_queries.values()), f"queries of {name}"
        return None, f"those of {self.split}, their relevant documents left out"
