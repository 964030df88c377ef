"""A bi-encoder with exact search over the documents of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import CheckpointError
from encloze.retrieval.index_building import exact_indexes
from encloze.search.indexes.base import Index
from encloze.systems._encoding_system import EncodingSystem
from encloze.systems.base import System

_View = Literal["dense", "sparse"]
_VIEWS: tuple[_View, ...] = get_args(_View)


@dataclass(frozen=True)
class Model(EncodingSystem, name="model"):
    """A bi-encoder with exact search: every query is compared with every document."""

    views: tuple[_View, ...] = ()
    """Representations whose scores rank the documents: dense, sparse or both. By default all that the model has. Dense
    and sparse scores are added with the weights that the model defines."""

    def default_title(self) -> str:
        return " ".join([Path(self.model).name, *self.views])

    def per_view(self) -> tuple[System, ...]:
        available = load_encoder(self.model, self.precision).views
        views = [view for view in _VIEWS if view in available and (not self.views or view in self.views)]
        if len(views) < 2:
            return (self,)
        return (*(replace(self, views=(view,), title=self.title and f"{self.title} {view}") for view in views), self)

    def indexes(self, encoder: Encoder) -> Mapping[str, Index]:
        if missing := [view for view in self.views if view not in encoder.views]:
            raise CheckpointError(
                f"the model {self.model} has no {missing[0]} representation. Its representations: "
                f"{', '.join(encoder.views)}"
            )
        indexes = exact_indexes(encoder)
        return {index.name: index for index in indexes if not self.views or index.input_type in self.views}
