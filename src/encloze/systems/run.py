"""A run file that some other system wrote, in TREC's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import Dataset
from encloze.data.runs import best, read_run
from encloze.systems.base import Outcome, System


@dataclass(frozen=True)
class RunFile(System, name="run"):
    """Rankings that exist already."""

    run: Path
    """The file, plain or gzipped, or a folder with run.trec in it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"run": self.run}

    def label(self) -> str:
        return self.run.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".run")

    def rank(self, dataset: Dataset, depth: int) -> Outcome:
        run = {query: best(scores, depth) for query, scores in read_run(self.run).items()}
        missing = len(dataset.judgments.keys() - run.keys())
        return Outcome(run, None, f"{missing} judged queries are not in it and count 0" if missing else "")
