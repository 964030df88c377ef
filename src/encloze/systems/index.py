"""An index folder, with all its views and their fusion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.errors import DataError
from encloze.retrieval.index_folder import check_index, view_names
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.base import Fusion
from encloze.storage.disk import size_of
from encloze.storage.model_folders import size_of_weights
from encloze.systems._weighing import weighed
from encloze.systems.base import Ready, System


@dataclass(frozen=True)
class Index(System, name="index"):
    """Search as ``encloze search`` does it."""

    index: Path
    """The index folder."""
    views: tuple[str, ...] = ()
    """Which of its views to ask (flat, bm25); all by default."""
    fusion: Fusion | None = None
    """How the rankings of several views become one; by default the model's own sum where all are views of one model,
    and else reciprocal_rank."""

    tune_on: str | None = None
    """A split (not the one that is judged) on which a weighted fusion of its views is tuned by nDCG@10."""

    def inputs(self) -> dict[str, Path | str]:
        return {"index": self.index}

    @property
    def heeds(self) -> tuple[str, ...]:
        return ("queries",)

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def label(self) -> str:
        return f"{self.index.name} {' + '.join(self.views)}" if self.views else self.index.name

    def apart(self) -> tuple[System, ...]:
        views = self.views or view_names(self.index)
        if len(views) < 2:
            return (self,)
        named = {view: self.title and f"{self.title} {view}" for view in views}
        return (*(Index(self.index, (view,), title=title) for view, title in named.items()), self)

    def check(self) -> None:
        check_index(self.index)

    @contextmanager
    def ready(self, dataset: DatasetSplit) -> Iterator[Ready]:
        searcher = Retriever.load(self.index, views=self.views, fusion=self.fusion)
        judged = {document for grades in dataset.judgments.values() for document in grades}
        if not judged & dataset.known(searcher.corpus):
            why = "Was it built from another data set?"
            if not dataset.by_source and judged & searcher.corpus.sources:
                why = "It holds passages of them: judge with --judged sources"
            raise DataError(f"the index {self.index} holds none of the {len(judged)} documents that are judged. {why}")
        lacking = len(judged - dataset.known(searcher.corpus))
        notes = [f"{lacking:,} judged documents are not in it: it cannot find them"] * bool(lacking)
        notes += [weighed(searcher, dataset.part(self.tune_on))] if self.tune_on else []
        note = "; ".join(filter(None, notes))
        yield Ready(searcher.run, note, *self._sizes(searcher), searcher.corpus)

    def _sizes(self, searcher: Retriever) -> tuple[int, int | None]:
        """What the views that are asked take on the disk, and the weights of their models."""
        models = {view.encoder.name for view in searcher.views if view.encoder}
        weights = sum(map(size_of_weights, models)) if models else None
        return sum(size_of(self.index / view.name) for view in searcher.views), weights
