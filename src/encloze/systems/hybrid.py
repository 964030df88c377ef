"""A model and BM25 over a data set's own documents, as one system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder
from encloze.retrieval.index_folder import exact_indexes
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.systems._encoding import Encoding
from encloze.systems._weighing import weighed
from encloze.systems.base import System


@dataclass(frozen=True)
class Hybrid(Encoding, name="hybrid"):
    """What ``encloze index`` and ``search`` would do with the model and BM25, built anew for each data set."""

    bm25: Bm25 = field(default_factory=Bm25)
    """BM25's parameters, and what counts as a word."""
    fusion: Fusion | None = None
    """How the rankings become one; by default reciprocal_rank."""
    tune_on: str | None = None
    """A split (not the one that is judged) on which the weights of the views are tuned by nDCG@10."""

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def label(self) -> str:
        return f"{Path(self.model).name} + bm25"

    def apart(self) -> tuple[System, ...]:
        kinds: dict[str, Any] = {name: System.member(name) for name in ("bm25", "model")}
        lexical = kinds["bm25"](self.bm25.k1, self.bm25.b, self.bm25.analyzer)
        return (lexical, *kinds["model"](self.model, precision=self.precision).apart(), self)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        return {index.name: index for index in (*exact_indexes(encoder), self.bm25)}

    def joined(self, views: Sequence[View], dataset: DatasetSplit) -> tuple[Retriever, str]:
        searcher = Retriever(dataset.corpus, views, self.fusion)
        return searcher, weighed(searcher, dataset.part(self.tune_on)) if self.tune_on else ""
