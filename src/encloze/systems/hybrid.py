"""A bi-encoder and BM25 over the documents of a data set, fused into one ranking."""

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
from encloze.systems._encoding_system import EncodingSystem
from encloze.systems._fusion_weights import tune_fusion_weights
from encloze.systems.base import System


@dataclass(frozen=True)
class Hybrid(EncodingSystem, name="hybrid"):
    """A bi-encoder and BM25. Their rankings are fused in the same way as in ``encloze search``.

    The indexes are built for each data set and deleted afterwards.
    """

    bm25: Bm25 = field(default_factory=Bm25)
    """Settings of the BM25 index: k1, b and the analyzer."""
    fusion: Fusion | None = None
    """How the rankings of the bi-encoder and of BM25 are combined; reciprocal_rank by default."""
    tune_on: str | None = None
    """Split, other than the evaluated one, on which the fusion weights of the bi-encoder and BM25 are tuned by
    nDCG@10."""

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def default_title(self) -> str:
        return f"{Path(self.model).name} + bm25"

    def per_view(self) -> tuple[System, ...]:
        members: dict[str, Any] = {name: System.member(name) for name in ("bm25", "model")}
        lexical = members["bm25"](self.bm25.k1, self.bm25.b, self.bm25.analyzer)
        return (lexical, *members["model"](self.model, precision=self.precision).per_view(), self)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        return {index.name: index for index in (*exact_indexes(encoder), self.bm25)}

    def build_retriever(self, views: Sequence[View], dataset: DatasetSplit) -> tuple[Retriever, str]:
        retriever = Retriever(dataset.corpus, views, self.fusion)
        return retriever, tune_fusion_weights(retriever, dataset.with_split(self.tune_on)) if self.tune_on else ""
