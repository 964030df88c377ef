"""What systems share that encode a data set's own documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder, load_encoder
from encloze.retrieval.index_folder import build_views
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.views import View
from encloze.search.indexes.base import Index
from encloze.storage.cache import temporary_folder
from encloze.storage.disk import size_of
from encloze.storage.model_folders import locate, size_of_weights
from encloze.systems.base import Ready, System


@dataclass(frozen=True)
class Encoding(System):
    """A model that reads every document, and the indexes made of it."""

    model: str
    """A model folder, a hub's id, or minilm."""
    precision: Literal["auto", "float32", "bfloat16"] = field(default="auto", kw_only=True)
    """Number format of the encoder's products; auto takes bfloat16 where the processor is made for it."""

    def inputs(self) -> dict[str, Path | str]:
        return {"model": self.model}

    def check(self) -> None:
        locate(self.model)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        """What is built of the documents, by the view's name."""
        raise NotImplementedError

    def joined(self, views: Sequence[View], dataset: DatasetSplit) -> tuple[Retriever, str]:
        """What asks them all, and a note on how that was chosen."""
        return Retriever(dataset.corpus, views), ""

    @contextmanager
    def ready(self, dataset: DatasetSplit) -> Iterator[Ready]:
        dataset.check_documents()
        encoder = load_encoder(self.model, self.precision)
        with temporary_folder() as folder:
            build_views(dataset.corpus, indexes := self.indexes(encoder), encoder, folder)
            views = [
                View(name, index.open(folder / name), None if index.reads == "text" else encoder)
                for name, index in indexes.items()
            ]
            searcher, note = self.joined(views, dataset)
            yield Ready(searcher.run, note, size_of(folder), size_of_weights(self.model))
