"""BM25 over the data set's documents, its parameters given or tuned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.evaluation.measures import measure
from encloze.retrieval.index_folder import build_views
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.unicode import Unicode
from encloze.search.expanded import Expanded
from encloze.search.expansions.base import Expansion
from encloze.search.indexes.base import OpenIndex
from encloze.search.indexes.bm25 import Bm25 as Bm25Index
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.systems.base import Ready, System

_K1 = (0.6, 0.9, 1.2, 1.6, 2.0)
_B = (0.3, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Bm25(System, name="bm25"):
    """BM25 in Lucene's variant."""

    k1: float = 1.2
    """How fast repetitions of a word lose weight."""
    b: float = 0.75
    """How much long documents are held back."""
    analyzer: Analyzer = field(default_factory=Unicode)
    """What counts as a word."""
    expansion: Expansion | None = None
    """How its first hits widen a query: rm3; not at all by default."""
    tune_on: str | None = None
    """A split (not the one that is judged) on which k1 and b are chosen by nDCG@10, from a grid of 20."""

    def __post_init__(self) -> None:
        Bm25Index(self.k1, self.b)  # checks them

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def label(self) -> str:
        analyzer = "" if self.analyzer == Unicode() else self.analyzer.as_chosen()
        own = [f"{name} {getattr(self, name):g}" for name in ("k1", "b") if getattr(self, name) != getattr(Bm25, name)]
        given = f"({', '.join(own)})" if own and not self.tune_on else ""
        expansion = self.expansion.as_chosen() if self.expansion else ""
        parts = ("bm25", given, analyzer, "tuned" * bool(self.tune_on), expansion)
        return " ".join(part for part in parts if part)

    @contextmanager
    def ready(self, dataset: DatasetSplit) -> Iterator[Ready]:
        dataset.check_documents()
        index, note = Bm25Index(self.k1, self.b, self.analyzer), ""
        with temporary_folder() as folder:
            build_views(dataset.corpus, {index.name: index}, None, folder)
            if self.tune_on:
                index = tuned(index, dataset.part(self.tune_on), folder / index.name)
                note = f"k1 {index.k1} and b {index.b} were chosen on the split {self.tune_on}"
            opened: OpenIndex = index.open(folder / index.name)
            if self.expansion:
                opened = Expanded(index.open(folder / index.name), self.expansion, dataset.corpus.texts)
            view = View(index.name, opened)
            yield Ready(Retriever(dataset.corpus, [view]).run, note, size_of(folder / index.name))


def tuned(index: Bm25Index, dataset: DatasetSplit, folder: Path) -> Bm25Index:
    """The settings of an index built in ``folder`` with the k1 and b of the highest nDCG@10 on a data set's split."""
    grid = [replace(index, k1=k1, b=b) for k1, b in itertools.product(_K1, _B)]
    values = []
    for candidate in progress.track(grid, f"Tuning BM25 on {dataset.split}", len(grid), "settings"):
        run, _ = Retriever(dataset.corpus, [View(index.name, candidate.open(folder))]).run(dataset.queries, 10)
        values.append(measure(run, dataset.judgments, ["nDCG@10"])["nDCG@10"].mean())
    return grid[max(range(len(grid)), key=values.__getitem__)]
