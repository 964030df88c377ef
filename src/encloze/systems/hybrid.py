"""A bi-encoder and BM25 over the documents of a data set, fused into one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder
from encloze.retrieval.index_building import exact_indexes
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import choose_fusion
from encloze.retrieval.tuning_queries import named_tuning
from encloze.retrieval.views import View
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.systems._encoding_system import EncodingSystem
from encloze.systems.base import System


@dataclass(frozen=True)
class Hybrid(EncodingSystem, name="hybrid"):
    """A bi-encoder and BM25. Their rankings are fused in the same way as in ``encloze search``.

    The indexes are built for each data set and deleted afterwards.
    """

    bm25: Bm25 = field(default_factory=Bm25)
    """Settings of the BM25 index: k1, b and the analyzer."""
    fusion: Fusion | None = None
    """How the scores of the bi-encoder and of BM25 are combined; by default by a weighted sum of normalized scores."""
    tune_on: str | None = None
    """Split, other than the evaluated one, on which the weights of the sum are tuned by nDCG@10. By default dev or
    validation, if the data set has one of them and fusion is not set."""

    def __post_init__(self) -> None:
        if self.fusion and self.tune_on:
            raise ValueError("tune_on tunes the weights of the default fusion. Leave out fusion or tune_on")

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def default_title(self) -> str:
        fusion = self.fusion.summary() if self.fusion else f"tuned on {self.tune_on}" if self.tune_on else ""
        return ", ".join(filter(None, (f"{Path(self.model).name} + bm25", fusion)))

    def per_view(self) -> tuple[System, ...]:
        members: dict[str, Any] = {name: System.member(name) for name in ("bm25", "model")}
        lexical = members["bm25"](self.bm25.k1, self.bm25.b, self.bm25.analyzer)
        return (lexical, *members["model"](self.model, precision=self.precision).per_view(), self)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        return {index.name: index for index in (*exact_indexes(encoder), self.bm25)}

    def build_retriever(self, views: Sequence[View], dataset: DatasetSplit) -> tuple[Retriever, str]:
        if self.fusion:
            return Retriever(dataset.corpus, views, self.fusion), ""
        tuning = named_tuning(dataset, self.tune_on) if self.tune_on else None
        chosen = choose_fusion(views, dataset.corpus, dataset, tuning)
        return Retriever(dataset.corpus, views, chosen.fusion), chosen.note
