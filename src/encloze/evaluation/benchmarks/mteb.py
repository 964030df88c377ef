"""MTEB: retrieval tasks, each evaluated by the main score that MTEB defines for the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.mteb import Mteb as MtebTask
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules

_MEASURES = {"ndcg": "nDCG", "mrr": "RR", "map": "AP", "recall": "R", "precision": "P", "hit_rate": "Success"}


@dataclass(frozen=True)
class Mteb(Benchmark, name="mteb"):
    """Retrieval task of MTEB, such as ``mteb/NFCorpus``, or one subset of a task, such as ``mteb/MIRACLRetrieval/sw``.

    A folder given as ``path`` is a copy of the task's repository on the Hugging Face hub, or a data set in BEIR's
    layout. The metric and the removal of documents with the id of the query follow the task's ``main_score`` and
    ``ignore_identical_ids`` in https://github.com/embeddings-benchmark/mteb.
    """

    collection: str = ""
    """Name of the task in MTEB, followed by a slash and the subset if the task has several."""

    def __post_init__(self) -> None:
        if not self.collection:
            raise ValueError("the task is missing. Write it after a slash, as in mteb/NFCorpus")

    def rules(self) -> BenchmarkRules:
        task = self.remote_format().load_task()
        main_score = task.metadata.main_score
        kind, _, cutoff = main_score.partition("_at_")
        if kind not in _MEASURES or not cutoff.isdigit():
            raise DataError(
                f"the main score of {self.remote_format().location()} is {main_score}, which encloze does not compute. "
                "Load the model folder with sentence-transformers, and evaluate it with the package mteb"
            )
        measures = tuple(dict.fromkeys((f"{_MEASURES[kind]}@{cutoff}", "nDCG@10", "R@100")))
        ignore_identical_ids = bool(getattr(task, "ignore_identical_ids", False))
        return BenchmarkRules(measures, max(100, int(cutoff)), ignore_identical_ids)

    def remote_format(self) -> MtebTask:
        task, _, subset = self.collection.partition("/")
        return MtebTask(task, subset or None, self.path)

    def local_format(self, path: Path) -> Format:
        return Beir(path) if Beir.recognizes(path) else self.remote_format()

    def split(self) -> str:
        return self.remote_format().splits()[0]
