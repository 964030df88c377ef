"""Interface of systems, which rank the documents of a data set for its queries and can be evaluated."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import RUN_FILE
from encloze.encoders.base import Precision
from encloze.errors import EnclozeError
from encloze.evaluation.latency import latencies
from encloze.evaluation.results import SystemResult
from encloze.family import Family
from encloze.retrieval.index_folder import is_index
from encloze.settings import plain

PROCESS_STATUS = Path("/proc/self/status")
"""Linux only; on other systems memory is not measured."""


class PreparedSystem(NamedTuple):
    """A system that has read, encoded and indexed the documents of a data set and ranks them for any queries.

    Args:
        run: Function that takes queries and a depth (documents per query). It returns the ranking and the milliseconds
            per query, which are None if the ranking was read from a file.
        note: Remark shown below tables, such as the values of parameters that were tuned.
        index_bytes: Size of the index on disk, in bytes.
        model_bytes: Size of the weights of the models, in bytes.
        corpus: Corpus whose documents are ranked; None if it is the corpus of the data set.
    """

    run: Callable[[Sequence[Query], int], tuple[Run, float | None]]
    note: str = ""
    index_bytes: int | None = None
    model_bytes: int | None = None
    corpus: Corpus | None = None

    def rank(
        self, queries: Sequence[Query], depth: int, name: str = "", *, measure_latency: bool = False
    ) -> SystemResult:
        """Rank the documents of the prepared data set for ``queries``.

        Args:
            queries: Queries with their texts.
            depth: Number of documents to rank for each query.
            name: Title of the system in tables.
            measure_latency: Whether single queries are timed, too.

        Returns:
            The ranking and its cost (time and size). Measures are not computed.
        """
        run, milliseconds = self.run(queries, depth)
        is_timed = measure_latency and milliseconds is not None
        return SystemResult(
            name=name,
            run=run,
            milliseconds_per_query=milliseconds,
            latency=latencies(lambda query: self.run([query], depth), queries) if is_timed else {},
            note=self.note,
            index_bytes=self.index_bytes,
            model_bytes=self.model_bytes,
            corpus=self.corpus,
        )


@dataclass(frozen=True)
class System(Family):
    """Base class of systems, which rank the documents of a data set for its queries.

    In a recipe and on the command line, the path of an index folder, run file or model folder may be given instead of
    the type and settings of a system. A subclass implements ``prepare``.

    Example:
        >>> from encloze.systems.bm25 import Bm25
        >>> Bm25(k1=0.9).default_title()
        'bm25 (k1 0.9)'
    """

    default_member: ClassVar[str | None] = "model"

    title: str | None = field(default=None, kw_only=True)
    """Name of the system in tables; by default it is derived from the other settings."""

    def inputs(self) -> dict[str, Path | str]:
        """Return the files and models of the system, keyed by setting. Their hashes are saved with results."""
        return {}

    def encoders(self) -> list[tuple[str, Precision]]:
        """Return name and precision of the encoders with which the system encodes the documents of a data set."""
        return []

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Which parts of a data set affect the ranking: ``queries``, ``documents``, both or neither.

        The ranking of an index folder depends on ``queries`` only, because the folder contains documents of its own.
        The ranking in a run file depends on neither part.
        """
        return ("queries", "documents")

    @property
    def tuned_on(self) -> str | None:
        """Name of the split on which settings of the system are tuned; None if no setting is tuned."""
        return None

    def default_title(self) -> str:
        """Return the name of the system in tables that is used if ``title`` is not set."""
        return self.name

    def check_files(self) -> None:
        """Raise an EnclozeError if files that the system names are missing or invalid.

        This method is called for all systems before the first system ranks any documents.
        """

    def check_dataset(self, dataset: DatasetSplit) -> None:
        """Raise an EnclozeError if the system cannot be evaluated on ``dataset``.

        This method is called for all systems and data sets before the first system ranks any documents. By default, it
        checks that the split that settings are tuned on can be read.
        """
        if self.tuned_on:
            _ = dataset.with_split(self.tuned_on).judgments

    def prepare(self, dataset: DatasetSplit) -> AbstractContextManager[PreparedSystem]:
        """Read, encode and index the documents of a data set once, for any number of queries.

        Args:
            dataset: The split to evaluate on.

        Returns:
            A context manager that yields the prepared system. Temporary files are deleted at the end of the block.
        """
        raise NotImplementedError(type(self).__name__)

    def parts(self) -> tuple[System, ...]:
        """Return the systems to evaluate: this one or, for a group of training seeds, one for each seed."""
        return (self,)

    def per_view(self) -> tuple[System, ...]:
        """Return a system for each index (or representation) that this system combines, followed by this system.

        Each system before the last one searches a single index. A system with only one index returns only itself.
        """
        return (self,)

    def rank(self, dataset: DatasetSplit, depth: int, *, measure_latency: bool = False) -> SystemResult:
        """Rank the documents of a data set for the queries of its split.

        Args:
            dataset: The split to evaluate on.
            depth: Number of documents to rank for each query.
            measure_latency: Whether single queries are timed, too.

        Returns:
            The ranking and its cost (time and size). Measures are not computed.
        """
        with self.prepare(dataset) as prepared:
            title = self.title or self.default_title()
            return prepared.rank(dataset.queries, depth, title, measure_latency=measure_latency)

    def measure_memory(self, dataset: DatasetSplit, depth: int) -> int | None:
        """Return the peak memory while the system searches, measured in a separate process.

        A separate process is needed because memory that other systems have not released would be counted, too.

        Args:
            dataset: The split to evaluate on.
            depth: Number of documents to rank for each query.

        Returns:
            The peak memory in bytes, which includes Python and excludes memory-mapped files. None on operating
            systems other than Linux, and for rankings read from a file.

        Raises:
            EnclozeError: The process failed.
        """
        if not PROCESS_STATUS.exists() or not self.depends_on:
            return None
        request = {
            "system": plain(self),
            "dataset": plain(dataset.format),
            "split": dataset.split,
            "judgments_by_source": dataset.judgments_by_source,
            "depth": depth,
        }
        command = [sys.executable, "-m", "encloze.systems._memory"]
        process = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
        if process.returncode:
            lines = process.stderr.strip().splitlines() or [f"the process ended with exit code {process.returncode}"]
            title = self.title or self.default_title()
            raise EnclozeError(f"the memory of {title} could not be measured: {lines[-1]}")
        return int(process.stdout)

    @classmethod
    def resolve_member(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class and the settings of a system that a recipe or the command line gives by type name or path.

        A path without other settings is recognized by its content: an index folder, a run file or a model folder. A
        path has precedence over a type of system with the same name.
        """
        path = Path(str(type_))
        if not values and is_index(path):
            return cls.member("index"), {"index": path}
        # A name with these endings is a run file even if the file does not exist: the error then names the file.
        is_run_name = not path.is_dir() and path.name.removesuffix(".gz").endswith((".trec", ".run"))
        if not values and (is_run_name or path.is_file() or (path / RUN_FILE).is_file()):
            return cls.member("run"), {"run": path}
        if not values and (path / "config.json").is_file():
            return cls.member("model"), {"model": str(type_)}
        return super().resolve_member(type_, values)


def unique_titles(systems: Iterable[System]) -> list[str]:
    """Return a unique title for each system, for tables."""
    return unique_names(system.title or system.default_title() for system in systems)


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names without repetitions: a name that occurs earlier in the list gets a number.

    Example:
        >>> unique_names(["bm25", "bm25"])
        ['bm25', 'bm25 #2']
    """
    unique: list[str] = []
    for name in names:
        candidates = (f"{name} #{number}" for number in itertools.count(2))
        unique.append(name if name not in unique else next(other for other in candidates if other not in unique))
    return unique


def inputs_of(systems: Iterable[System], setting: str) -> dict[str, Path | str]:
    """Return the inputs (files and models) of several systems, keyed by setting, such as ``systems[0].model``."""
    return {
        f"{setting}[{number}].{name}": path
        for number, system in enumerate(systems)
        for name, path in system.inputs().items()
    }
