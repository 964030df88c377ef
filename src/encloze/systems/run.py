"""A run file that some other system wrote, in TREC's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import Dataset
from encloze.data.records import Query, Run
from encloze.data.runs import best, read_run
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

    @contextmanager
    def ready(self, dataset: Dataset) -> Iterator[Ready]:
        whole, note = self._read(dataset)

        def run(queries: Sequence[Query], depth: int) -> tuple[Run, None]:
            return {query.id: best(whole[query.id], depth) for query in queries if query.id in whole}, None

        yield Ready(run, note)

    def rank(self, dataset: Dataset, depth: int) -> Outcome:
        """What stands in the run, of which the queries' words may be unknown."""
        whole, note = self._read(dataset)
        return Outcome({query: best(scores, depth) for query, scores in whole.items()}, None, note)

    def _read(self, dataset: Dataset) -> tuple[Run, str]:
        run = read_run(self.run)
        missing = len(dataset.judgments.keys() - run.keys())
        return run, f"{missing} judged queries are not in it and count 0" if missing else ""
