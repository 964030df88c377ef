"""MTEB's retrieval tasks, told in each task's own main measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.mteb import Mteb as MtebTask
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules

_NAMES = {"ndcg": "nDCG", "mrr": "RR", "map": "AP", "recall": "R", "precision": "P", "hit_rate": "Success"}


@dataclass(frozen=True)
class Mteb(Benchmark, name="mteb"):
    """A task by its name, with one of its parts where it has several: ``mteb/NFCorpus``, ``mteb/MIRACLRetrieval/sw``.

    A folder is a copy of the task's on the Hugging Face hub, or one in BEIR's layout.
    Source: https://github.com/embeddings-benchmark/mteb (``main_score``, ``ignore_identical_ids``).
    """

    collection: str = ""
    """The task's name in MTEB, and its part behind a slash where it has several."""

    def __post_init__(self) -> None:
        if not self.collection:
            raise ValueError("collection is not named: write it behind a slash, as in mteb/NFCorpus")

    def rules(self) -> BenchmarkRules:
        task = self.fetched().known()
        kind, _, depth = task.metadata.main_score.partition("_at_")
        if kind not in _NAMES or not depth.isdigit():
            raise DataError(
                f"{self.fetched().place()} is told in {task.metadata.main_score}, which encloze does not measure. MTEB "
                "itself runs it, on any model folder that sentence-transformers reads"
            )
        own, skipped = f"{_NAMES[kind]}@{depth}", getattr(task, "ignore_identical_ids", False)
        measures = tuple(dict.fromkeys((own, "nDCG@10", "R@100")))
        return BenchmarkRules(measures, depth=max(100, int(depth)), ignore_identical_ids=skipped)

    def fetched(self) -> MtebTask:
        task, _, subset = self.collection.partition("/")
        return MtebTask(task, subset or None, self.path)

    def local(self, path: Path) -> Format:
        return Beir(path) if Beir.recognises(path) else self.fetched()

    def split(self) -> str:
        return self.fetched().splits()[0]
