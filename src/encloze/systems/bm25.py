"""BM25 over the documents of a data set, with parameters that are set in a recipe or tuned on a split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.evaluation.measures import compute_measures
from encloze.retrieval.index_building import build_views
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.search.analyzers.base import Analyzer
from encloze.search.expanded_search import ExpandedSearcher
from encloze.search.expansions.base import Expansion
from encloze.search.indexes.base import IndexSearcher
from encloze.search.indexes.bm25 import Bm25 as Bm25Index
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.systems.base import PreparedSystem, System

_K1 = (0.6, 0.9, 1.2, 1.6, 2.0)
_B = (0.3, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Bm25(System, name="bm25"):
    """BM25 in Lucene's variant."""

    k1: float = 1.2
    """Term frequency saturation; higher values let repeated terms count more."""
    b: float = 0.75
    """Document length normalization, from 0 (none) to 1 (full)."""
    analyzer: Analyzer | None = None
    """Analyzer that splits documents and queries into terms. By default it is chosen by the language of the documents:
    stemmed if there is a stemmer for it, hebrew for Hebrew, otherwise unicode."""
    expansion: Expansion | None = None
    """Query expansion by pseudo-relevance feedback, such as rm3; by default queries are not expanded."""
    tune_on: str | None = None
    """Split, other than the evaluated one, on which k1 and b are tuned: the best of 20 pairs by nDCG@10 is used."""

    def __post_init__(self) -> None:
        Bm25Index(self.k1, self.b)  # validates the parameters

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def default_title(self) -> str:
        analyzer = self.analyzer.summary() if self.analyzer else ""
        changed = [name for name in ("k1", "b") if getattr(self, name) != getattr(Bm25, name)]
        settings = ", ".join(f"{name} {getattr(self, name):g}" for name in changed)
        parameters = f"({settings})" if settings and not self.tune_on else ""
        expansion = self.expansion.summary() if self.expansion else ""
        parts = ("bm25", parameters, analyzer, "tuned" * bool(self.tune_on), expansion)
        return " ".join(part for part in parts if part)

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        dataset.check_judged_documents()
        index, note = Bm25Index(self.k1, self.b, self.analyzer), ""
        with temporary_folder() as temporary:
            folder = temporary / index.name
            build_views(dataset.corpus, {index.name: index}, None, temporary)
            if self.tune_on:
                index = tune_bm25(index, dataset.with_split(self.tune_on), folder)
                note = f"k1 {index.k1} and b {index.b} were tuned on the split {self.tune_on}"
            searcher: IndexSearcher = index.open(folder)
            if self.expansion:
                searcher = ExpandedSearcher(index.open(folder), self.expansion, dataset.corpus.texts)
            retriever = Retriever(dataset.corpus, [View(index.name, searcher)])
            yield PreparedSystem(retriever.run, note, size_of(folder))


def tune_bm25(index: Bm25Index, dataset: DatasetSplit, folder: Path) -> Bm25Index:
    """Return index settings with the k1 and b that have the highest nDCG@10 on a split; 20 pairs of values are tried.

    Args:
        index: Settings of the built index. k1 and b only affect search, so the index is not built again.
        dataset: The split on which nDCG@10 is computed.
        folder: Folder of the built index.
    """
    grid = [replace(index, k1=k1, b=b) for k1, b in itertools.product(_K1, _B)]
    values = []
    for candidate in progress.track(grid, f"Tuning BM25 on {dataset.split}", len(grid), "settings"):
        run, _ = Retriever(dataset.corpus, [View(index.name, candidate.open(folder))]).run(dataset.queries, 10)
        values.append(compute_measures(run, dataset.judgments, ["nDCG@10"])["nDCG@10"].mean())
    return grid[max(range(len(grid)), key=values.__getitem__)]
