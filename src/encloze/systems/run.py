"""A run file that some other system wrote, in TREC's format."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import Dataset
from encloze.data.runs import best, read_run
from encloze.errors import DataError
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
        missing, more = (len(a - b) for a, b in itertools.permutations((dataset.judgments.keys(), run.keys())))
        if more == len(run):
            raise DataError(
                f"{self.run}: none of its {len(run)} queries is judged in the split {dataset.split!r} of "
                f"{dataset.format.place()} (in the run: {next(iter(run))!r}, judged: {next(iter(dataset.judgments))!r})"
                ". Is it a run over this data set and split?"
            )
        notes = [f"{missing} judged queries are not in it and count 0"] * bool(missing)
        notes += [f"{more} of its queries are not judged and do not count"] * bool(more)
        return Outcome(run, None, "; ".join(notes))
