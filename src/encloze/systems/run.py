"""A system whose rankings are read from a run file in TREC format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import read_run, top_documents
from encloze.errors import DataError
from encloze.evaluation.results import SystemResult
from encloze.systems.base import PreparedSystem, System


@dataclass(frozen=True)
class RunFile(System, name="run"):
    """Rankings that are read from a run file, for example those of another system."""

    run: Path
    """Run file in TREC format, plain or gzipped, or a folder that contains run.trec."""

    def inputs(self) -> dict[str, Path | str]:
        return {"run": self.run}

    def default_title(self) -> str:
        return self.run.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".run")

    @property
    def depends_on(self) -> tuple[str, ...]:
        return ()

    def check_files(self) -> None:
        _ = self._rankings

    def check_dataset(self, dataset: DatasetSplit) -> None:
        self._note(dataset)

    @cached_property
    def _rankings(self) -> Run:
        return read_run(self.run)

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        rankings, note = self._rankings, self._note(dataset)

        def run(queries: Sequence[Query], depth: int) -> tuple[Run, None]:
            known = (query.id for query in queries if query.id in rankings)
            return {query: top_documents(rankings[query], depth) for query in known}, None

        yield PreparedSystem(run, note)

    def rank(self, dataset: DatasetSplit, depth: int, *, measure_latency: bool = False) -> SystemResult:
        """Return the first ``depth`` documents of each query in the run file. The texts of queries are not read."""
        note = self._note(dataset)
        rankings = {query: top_documents(scores, depth) for query, scores in self._rankings.items()}
        return SystemResult(self.title or self.default_title(), rankings, note=note)

    def _note(self, dataset: DatasetSplit) -> str:
        """Return a note on the number of queries that only the run file or only the split contains; empty if none.

        Raises:
            DataError: The run file and the split have no query in common.
        """
        rankings, judged = self._rankings, dataset.judgments.keys()
        missing, unjudged = len(judged - rankings.keys()), len(rankings.keys() - judged)
        if unjudged == len(rankings):
            raise DataError(
                f"{self.run}: none of its {len(rankings)} queries is judged in the split {dataset.split!r} of "
                f"{dataset.format.location()} (first query of the run: {next(iter(rankings))!r}, first judged query: "
                f"{next(iter(judged))!r}). Name a run file for this data set and split"
            )
        notes = [f"{missing} judged queries are not in the run and count as 0"] * bool(missing)
        notes += [f"{unjudged} queries of the run are not judged and are ignored"] * bool(unjudged)
        return "; ".join(notes)
