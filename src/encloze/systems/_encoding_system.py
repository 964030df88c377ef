"""Base class of systems that encode the documents of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder, Precision, load_encoder
from encloze.retrieval.index_building import build_views
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.search.indexes.base import Index
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.storage.model_folders import locate, size_of_weights
from encloze.systems.base import PreparedSystem, System


@dataclass(frozen=True)
class EncodingSystem(System):
    """Base class of systems with a bi-encoder: all documents are encoded and searched in temporary indexes."""

    model: str
    """Bi-encoder: a model folder, a Hugging Face hub id, or minilm (all-MiniLM-L6-v2 from an installed package)."""
    precision: Literal["auto", "float32", "bfloat16"] = field(default="auto", kw_only=True)
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"model": self.model}

    def encoders(self) -> list[tuple[str, Precision]]:
        return [(self.model, self.precision)]

    def check_files(self) -> None:
        locate(self.model)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        """Return the settings of the indexes that are built for each data set, keyed by the name of the index."""
        raise NotImplementedError

    def build_retriever(self, views: Sequence[View], dataset: DatasetSplit) -> tuple[Retriever, str]:
        """Return a retriever that searches the opened indexes (``views``), and a note to show below tables of results.

        The note names settings that were tuned on a split; it is empty if no setting was tuned.
        """
        return Retriever(dataset.corpus, views), ""

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        dataset.check_judged_documents()
        encoder = load_encoder(self.model, self.precision)
        with temporary_folder() as folder:
            build_views(dataset.corpus, indexes := self.indexes(encoder), encoder, folder)
            views = [
                View(name, index.open(folder / name), None if index.input_type == "text" else encoder)
                for name, index in indexes.items()
            ]
            retriever, note = self.build_retriever(views, dataset)
            yield PreparedSystem(retriever.run, note, size_of(folder), size_of_weights(self.model))
