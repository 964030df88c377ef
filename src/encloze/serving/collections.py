"""Collections of the service: opened index folders, searched with different views, weights and re-ranking."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from encloze.data.records import Document
from encloze.encoders.base import Encoder, Reranker
from encloze.errors import CheckpointError, DataError, RecipeError, StaleIndexError, StorageError
from encloze.retrieval.index_change import IndexChange
from encloze.retrieval.ranked_hits import Aggregation
from encloze.retrieval.results import Hits
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.weighted import Weighted
from encloze.serving.errors import ConflictError, InvalidError, NotFoundError, faults_of

_MAX_RETRIEVERS = 16  # combinations of views, weights and re-ranking that are kept open


class SearchOptions(NamedTuple):
    """Settings of a search. Queries with equal options are searched together."""

    collection: str
    views: tuple[str, ...] = ()
    """Names of the indexes to search; all if empty."""
    weights: tuple[float, ...] = ()
    """Weight of each view; the stored ones if empty."""
    rerank: bool = False
    k: int = 10
    depth: int = 100
    filter: str = ""
    explain: bool = False
    passage_aggregation: Aggregation = "none"
    diversity: float = 0.0


class CollectionInfo(NamedTuple):
    """Description of a collection."""

    name: str
    documents: int
    views: tuple[str, ...]
    model: str | None
    """Name of the model that encodes queries; None if only texts are compared."""
    fields: tuple[str, ...]
    """Names of the fields that filters can use."""


def public_name(model: Encoder | Reranker) -> str:
    """Return the name of a model in responses: of a folder, only its last part."""
    return Path(model.name).name if Path(model.name).is_absolute() else model.name


class Collection:
    """An index folder. All methods are called in one thread, except ``info`` and ``document``.

    Searches see the documents that were there when they started. ``refresh``, which is called before a search, opens
    the folder again if it was changed or built again, also by another process.

    Attributes:
        version: Number of changes of the documents that were noticed.

    Args:
        name: Name in requests.
        folder: The index folder.
        model: The encoder that built it; by default it is loaded from its stored path.
        reranker: Re-ranks the best documents if a request wants it.
        rerank_depth: Number of documents that it scores.
        precision: Precision of a model that is loaded.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        model: Encoder | str | None = None,
        reranker: Reranker | None = None,
        rerank_depth: int = 50,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        self.name, self.folder, self._model, self._precision = name, folder, model, precision
        self._reranker, self._rerank_depth = reranker, rerank_depth
        self._retrievers = OrderedDict[tuple[Any, ...], Retriever]()
        self._base, self.version = self._load(model), 0

    @property
    def encoder(self) -> Encoder | None:
        """The encoder of the queries; None if there is none."""
        return next((view.encoder for view in self._base.views if view.encoder), None)

    def __len__(self) -> int:
        return len(self._base)

    @property
    def can_rerank(self) -> bool:
        """Whether there is a re-ranker."""
        return self._reranker is not None

    def info(self) -> CollectionInfo:
        """Return number of documents, views, model and fields."""
        base, encoder = self._base, self.encoder
        views = tuple(view.name for view in base.views)
        return CollectionInfo(self.name, len(base), views, public_name(encoder) if encoder else None, base.field_names)

    def search(self, options: SearchOptions, queries: Sequence[str]) -> list[Hits]:
        """Return the hits of each query.

        Raises:
            InvalidError: A view, a weight or the filter is invalid.
            EnclozeError: The index is damaged.
        """
        try:
            return self._retriever(options).search(
                list(queries),
                options.k,
                options.depth,
                filter=options.filter or None,
                explain=options.explain,
                passage_aggregation=options.passage_aggregation,
                diversity=options.diversity,
            )
        except RecipeError as error:
            raise InvalidError(faults_of(error)) from error

    def refresh(self) -> bool:
        """Open the folder again if it was changed; return whether it was.

        If another model built it again, that model is loaded. If the folder is being replaced, the old documents are
        searched until the new ones are complete.
        """
        try:
            changed = self._base.refresh()
        except StaleIndexError:  # built with another model
            self._base, changed = self._load(None), True
        except CheckpointError:
            return False  # being replaced, or gone: the opened files are still there
        if changed:
            self._has_changed()
        return changed

    def document(self, id_: str) -> Document:
        """Return a document. Raises NotFoundError if there is none with this id."""
        corpus = self._base.corpus
        if id_ not in corpus.number_of:
            raise NotFoundError(f"the collection {self.name!r} has no document with this id")
        return corpus[corpus.number_of[id_]]

    def add(self, documents: list[dict[str, Any]], *, replace: bool) -> IndexChange:
        """Add documents, or replace those with the same ids. They are on disk when this function returns.

        Raises:
            ConflictError: Some ids exist and ``replace`` is False, or another process is changing the index.
            InvalidError: A document is malformed.
        """
        try:
            return self._base.add(documents, replace=replace)
        except (DataError, RecipeError) as error:
            kind = ConflictError if "already" in str(error) else InvalidError
            raise kind(str(error)) from error
        except (CheckpointError, StorageError) as error:
            raise ConflictError("the index is being changed or replaced. Try again later") from error
        finally:
            self._has_changed()

    def delete(self, ids: list[str]) -> IndexChange:
        """Delete documents by their ids. Raises ConflictError if another process is changing the index."""
        try:
            return self._base.delete(ids)
        except (CheckpointError, StorageError) as error:
            raise ConflictError("the index is being changed or replaced. Try again later") from error
        finally:
            self._has_changed()

    def _has_changed(self) -> None:
        self._retrievers.clear()  # they are opened again when they are needed
        self.version += 1

    def _load(self, model: Encoder | str | None) -> Retriever:
        return Retriever.load(self.folder, encoder=model, precision=self._precision)

    def _retriever(self, options: SearchOptions) -> Retriever:
        """Return a retriever for the views, the weights and the re-ranking of a search."""
        if not options.views and not options.weights and not options.rerank:
            return self._base
        key = (options.views, options.weights, options.rerank)
        known = {view.name for view in self._base.views}
        if unknown := [name for name in options.views if name not in known]:
            raise InvalidError(f"views: there is no index {unknown[0]!r}; its indexes are {', '.join(sorted(known))}")
        if options.rerank and self._reranker is None:
            raise InvalidError("rerank: the service was started without a re-ranker")
        if key in self._retrievers:
            self._retrievers.move_to_end(key)
            return self._retrievers[key]
        views = options.views or tuple(view.name for view in self._base.views)
        if options.weights and len(options.weights) != len(views):
            raise InvalidError(f"weights: {len(options.weights)} weights for {len(views)} indexes. Give one for each")
        try:
            fusion = Weighted(options.weights) if options.weights else None
        except ValueError as error:
            raise InvalidError(f"weights: {error}") from error
        self._retrievers[key] = Retriever.load(
            self.folder,
            views=options.views,
            fusion=fusion,
            encoder=self.encoder,
            reranker=self._reranker if options.rerank else None,
            rerank_depth=self._rerank_depth,
        )
        if len(self._retrievers) > _MAX_RETRIEVERS:
            self._retrievers.popitem(last=False)
        return self._retrievers[key]
