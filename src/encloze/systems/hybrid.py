"""A model and BM25 over a data set's own documents, as one system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encloze.data.dataset import Dataset
from encloze.encoders import load_encoder
from encloze.folders import size_of, temporary
from encloze.model_folders import locate, size_of_weights
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.searcher import Searcher, View, build_views, exact_indexes
from encloze.systems._weighing import weighed
from encloze.systems.base import Ready, System


@dataclass(frozen=True)
class Hybrid(System, name="hybrid"):
    """What ``encloze index`` and ``search`` would do with the model and BM25, built anew for each data set."""

    model: str
    """A model folder, a hub's id, or minilm."""
    bm25: Bm25 = field(default_factory=Bm25)
    """BM25's parameters, and what counts as a word."""
    fusion: Fusion | None = None
    """How the rankings become one; by default reciprocal_rank."""
    tune_on: str | None = None
    """A split (not the one that is judged) on which the weights of the views are tuned by nDCG@10."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder's products; auto takes bfloat16 where the processor is made for it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"model": self.model}

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def label(self) -> str:
        return f"{Path(self.model).name} + bm25"

    def check(self) -> None:
        locate(self.model)

    @contextmanager
    def ready(self, dataset: Dataset) -> Iterator[Ready]:
        dataset.check_documents()
        encoder = load_encoder(self.model, self.precision)
        indexes: dict[str, Index] = {index.name: index for index in (*exact_indexes(encoder), self.bm25)}
        with temporary() as folder:
            build_views(dataset.corpus, indexes, encoder, folder)
            views = [
                View(name, index.open(folder / name), None if index.reads == "text" else encoder)
                for name, index in indexes.items()
            ]
            searcher = Searcher(dataset.corpus, views, self.fusion)
            note = weighed(searcher, dataset.part(self.tune_on)) if self.tune_on else ""
            yield Ready(searcher.run, note, size_of(folder), size_of_weights(self.model))
