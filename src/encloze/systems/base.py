"""A system: whatever ranks the documents of a data set for its queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run
from encloze.data.runs import RUN
from encloze.evaluation.report import Judged
from encloze.family import Family
from encloze.retrieval.index_folder import is_index


class Outcome(NamedTuple):
    """What a system did."""

    run: Run
    milliseconds: float | None = None
    """For a query, its encoding included; None where the system did not run here."""
    note: str = ""
    index_bytes: int | None = None
    """What its index takes on the disk, without the documents' texts."""
    model_bytes: int | None = None
    """What the weights of its models take."""
    memory_bytes: int | None = None
    """What a process of its own holds while it searches, where that was asked for."""
    corpus: Corpus | None = None
    """The documents that it ranked, where they are not the data set's: those of an index."""

    def searched(self, dataset: DatasetSplit) -> Corpus:
        """The documents that it ranked."""
        return self.corpus or dataset.corpus

    def named(self, title: str) -> Judged:
        """The run to be judged, under the system's name."""
        return Judged(title, *self[:-1])


class Ready(NamedTuple):
    """A system that has read, encoded and indexed the documents, and ranks them for any queries."""

    run: Callable[[Sequence[Query], int], tuple[Run, float | None]]
    """Queries and a depth to rankings, and the milliseconds that one took."""
    note: str = ""
    index_bytes: int | None = None
    model_bytes: int | None = None
    corpus: Corpus | None = None

    def rank(self, queries: Sequence[Query], depth: int) -> Outcome:
        run, milliseconds = self.run(queries, depth)
        return Outcome(run, milliseconds, self.note, self.index_bytes, self.model_bytes, corpus=self.corpus)


@dataclass(frozen=True)
class System(Family):
    """Something to judge. A bare path stands for an index folder, a run file or a model folder, as it is found."""

    otherwise: ClassVar[str | None] = "model"

    title: str | None = field(default=None, kw_only=True)
    """Its name in tables; made from the other settings where none is given."""

    def inputs(self) -> dict[str, Path | str]:
        """What it is made of, to be hashed beside the result."""
        return {}

    @property
    def heeds(self) -> tuple[str, ...]:
        """What of a data set it reads anew whenever it is asked; the others it has from elsewhere."""
        return ("queries", "documents")

    @property
    def tuned_on(self) -> str | None:
        """The split that some of its settings are chosen on, if any."""
        return None

    def label(self) -> str:
        """Its name in tables, where no title is given."""
        return self.name

    def check(self) -> None:
        """Raise what is wrong with the files it names, before systems in front of it have taken their time."""

    def check_for(self, dataset: DatasetSplit) -> None:
        """Raise what it cannot do for this data set, likewise."""

    def ready(self, dataset: DatasetSplit) -> AbstractContextManager[Ready]:
        """The system with all done that is done once for a data set; what it holds on disk is gone at the end."""
        raise NotImplementedError(type(self).__name__)

    def parts(self) -> tuple[System, ...]:
        """What is judged one by one: itself, but for a system that stands for several."""
        return (self,)

    def apart(self) -> tuple[System, ...]:
        """Each of its views as a system of its own, then itself; itself alone where it has one."""
        return (self,)

    def rank(self, dataset: DatasetSplit, depth: int) -> Outcome:
        """Rank the documents for the queries of the split, ``depth`` for each."""
        with self.ready(dataset) as ready:
            return ready.rank(dataset.queries, depth)

    @classmethod
    def chosen(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """An index or a run by what is at a path, a member by its name, else a model by its name.

        Paths come first where nothing else is set, so that an index folder may be called ``index``.
        """
        path = Path(str(type_))
        if not values and is_index(path):
            return cls.member("index"), {"index": path}
        named_as_run = not path.is_dir() and path.name.removesuffix(".gz").endswith(
            (".trec", ".run")
        )  # whether it is there or not
        if not values and (named_as_run or path.is_file() or (path / RUN).is_file()):
            return cls.member("run"), {"run": path}
        if not values and (path / "config.json").is_file():
            return cls.member("model"), {"model": str(type_)}
        return super().chosen(type_, values)


def titles(systems: Iterable[System]) -> list[str]:
    """The name of each in tables."""
    return numbered(system.title or system.label() for system in systems)


def numbered(names: Iterable[str]) -> list[str]:
    """Names of which each stands for one thing: where several are the same, the later ones get a number."""
    found: list[str] = []
    for name in names:
        others = (f"{name} #{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(other for other in others if other not in found))
    return found


def inputs_of(systems: Iterable[System], setting: str) -> dict[str, Path | str]:
    """What several systems are made of, named by the setting that holds them."""
    return {
        f"{setting}[{number}].{name}": place
        for number, system in enumerate(systems)
        for name, place in system.inputs().items()
    }
