"""A run file that some other system wrote, in TREC's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import best, read_run
from encloze.errors import DataError
from encloze.systems.base import Outcome, Ready, System


@dataclass(frozen=True)
class RunFile(System, name="run"):
    """Rankings that exist already."""

    run: Path
    """The file, plain or gzipped, or a folder with run.trec in it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"run": self.run}

    def label(self) -> str:
        return self.run.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".run")

    @property
    def heeds(self) -> tuple[str, ...]:
        return ()

    def check(self) -> None:
        _ = self._whole

    def check_for(self, dataset: DatasetSplit) -> None:
        self._read(dataset)

    @cached_property
    def _whole(self) -> Run:
        return read_run(self.run)

    @contextmanager
    def ready(self, dataset: DatasetSplit) -> Iterator[Ready]:
        whole, note = self._read(dataset)

        def run(queries: Sequence[Query], depth: int) -> tuple[Run, None]:
            return {query.id: best(whole[query.id], depth) for query in queries if query.id in whole}, None

        yield Ready(run, note)

    def rank(self, dataset: DatasetSplit, depth: int) -> Outcome:
        """What stands in the run, of which the queries' words may be unknown."""
        whole, note = self._read(dataset)
        return Outcome({query: best(scores, depth) for query, scores in whole.items()}, None, note)

    def _read(self, dataset: DatasetSplit) -> tuple[Run, str]:
        """The whole run, and how far its queries are those that are judged."""
        run, judged = self._whole, dataset.judgments.keys()
        missing, more = len(judged - run.keys()), len(run.keys() - judged)
        if more == len(run):
            raise DataError(
                f"{self.run}: none of its {len(run)} queries is judged in the split {dataset.split!r} of "
                f"{dataset.format.place()} (in the run: {next(iter(run))!r}, judged: {next(iter(judged))!r})"
                ". Is it a run over this data set and split?"
            )
        notes = [f"{missing} judged queries are not in it and count 0"] * bool(missing)
        notes += [f"{more} of its queries are not judged and do not count"] * bool(more)
        return run, "; ".join(notes)
