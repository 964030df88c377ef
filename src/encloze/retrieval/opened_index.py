"""An opened index folder, which can be changed, and opened again after another process has changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.field_columns import SegmentedFields
from encloze.data.filters import Filter
from encloze.data.text_arguments import strings
from encloze.errors import RecipeError
from encloze.retrieval.answer_threshold import AnswerThreshold, answer_features
from encloze.retrieval.candidates import CandidatePool
from encloze.retrieval.changes import add_documents, compact, delete_documents
from encloze.retrieval.engine_documents import EngineFields
from encloze.retrieval.index_change import IndexChange, Replacement
from encloze.retrieval.index_folder import index_version, view_entries
from encloze.retrieval.opening import EncoderOf
from encloze.retrieval.results import Answer
from encloze.retrieval.views import View
from encloze.search.segment import Opened
from encloze.storage.cache import temporary_folder

FilterLike = Filter | str | Mapping[str, Any]
"""A filter, or what ``Filter.of`` makes one from."""


class OpenedIndex:
    """The documents and the indexes of an index folder, as they were when it was opened.

    Attributes:
        corpus: The documents.
        views: The searched indexes of the collection, each with the encoder of its queries.
        folder: The index folder; None if the views were passed to the constructor.
        answer_threshold: Decides whether a query is answered; None if the command ``threshold`` has not been run, or if
            not all indexes are searched whose scores it uses.
    """

    def __init__(self, corpus: Corpus, views: Sequence[View], folder: Path | None) -> None:
        self.corpus, self.views = corpus, list(views)
        self.folder = folder.absolute() if folder else None  # so that the working folder may change
        self._version = index_version(self.folder) if self.folder else ()
        self._has_warned = False
        self.answer_threshold: AnswerThreshold | None = None
        self._fields: SegmentedFields | EngineFields | None = None
        self._encoder_of: EncoderOf = lambda entry: None
        self._opened = dict[str, Opened]()

    def _set_opened(
        self,
        fields: SegmentedFields | EngineFields,
        version: tuple[int, ...],
        encoder_of: EncoderOf,
        opened: dict[str, Opened],
        answer_threshold: AnswerThreshold | None,
    ) -> None:
        """Set what was opened together with the documents, such as their fields and the version of the folder."""
        self._fields, self._version, self._encoder_of, self._opened = fields, version, encoder_of, opened
        self._has_warned = False
        searched = {view.name for view in self.views}
        is_usable = answer_threshold and searched.issuperset(answer_threshold.views)
        self.answer_threshold = answer_threshold if is_usable else None

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields that filters can use, sorted."""
        return tuple(sorted(self._fields.names)) if self._fields else ()

    def refresh(self) -> bool:
        """Open the current documents if the index folder was changed since it was opened. Return whether it was.

        A retriever searches the documents that were in the folder when it was opened, until this function is called, or
        until the retriever itself changes the folder.

        Raises:
            CheckpointError: The folder was replaced by something else.
            StaleIndexError: The folder was replaced by an index that another model built.
        """
        if self.folder is None or index_version(self.folder) == self._version:
            return False
        self.__dict__.update(self._opened_again().__dict__)  # at once: another thread may search meanwhile
        return True

    def _opened_again(self) -> OpenedIndex:
        """Return the same object over the current state of the folder."""
        raise NotImplementedError(type(self).__name__)

    def add(self, documents: Any, *, replace: bool | Literal["source"] = False) -> IndexChange:
        """Add documents to the index folder. Searches that start afterwards find them, also in other processes.

        Args:
            documents: A ``Corpus``, or anything that ``Corpus.load`` opens, such as a list of dictionaries.
            replace: Whether documents of the index with the same ids are replaced. ``"source"`` also deletes all other
                passages of the longer texts that the documents were cut from.

        Raises:
            DataError: Documents with some of the ids are in the index already, and ``replace`` is False.
            StorageError: Another process is changing the index, or the disk is full.

        Example:
            >>> import encloze
            >>> rivers = [{"id": "1", "text": "Rivers flow into the sea."}]
            >>> retriever = encloze.Retriever.build(rivers, indexes=["bm25"])
            >>> _ = retriever.add([{"id": "2", "text": "A violin has four strings."}])
            >>> _ = retriever.delete(["1"])
            >>> [hit.id for hit in retriever.search("rivers and violins")]
            ['2']
        """
        folder = self._changed_folder()
        encoder = next(filter(None, map(self._encoder_of, view_entries(folder))), None)
        if replace not in (False, True, "source"):
            raise RecipeError("add", [("replace", f'expected True, False or "source", found {replace!r}')])
        kind: Replacement = "source" if replace == "source" else "id" if replace else "none"
        with temporary_folder() as temporary:
            change = add_documents(folder, Corpus.load_once(documents, temporary), encoder, kind)
        self.refresh()
        return change

    def delete(self, ids: Sequence[str] | None = None, *, filter: FilterLike | None = None) -> IndexChange:  # noqa: A002 - as in other libraries
        """Delete documents from the index folder, by their ids or by a filter.

        Args:
            ids: Ids of the documents. The ids that the index does not contain are in ``missing`` of the result.
            filter: Condition on the fields of the documents to delete (see ``Filter``).

        Raises:
            RecipeError: Neither ids nor a filter is given, or both, or the filter is invalid (see ``search``).
            StorageError: Another process is changing the index, or the disk is full.
        """
        if (ids is None) == (filter is None):
            raise RecipeError("delete", [("ids", "give either ids or a filter")])
        names = None if ids is None else strings(ids, "delete", "ids")
        change = delete_documents(self._changed_folder(), names, None if filter is None else Filter.of(filter))
        self.refresh()
        return change

    def compact(self) -> IndexChange:
        """Merge the segments of the index folder, and free the space of deleted documents. Nothing is encoded again."""
        change = compact(self._changed_folder())
        self.refresh()
        return change

    def _changed_folder(self) -> Path:
        if self.folder is None:
            raise RecipeError("the index", [("folder", "this retriever has no index folder that can be changed")])
        return self.folder

    def __len__(self) -> int:
        return len(self.corpus)

    def _warn_if_replaced(self) -> None:
        """Warn, once, if the index folder is no longer the one that was opened. Its files stay open until then."""
        if self.folder and not self._has_warned and index_version(self.folder) != self._version:
            self._has_warned = True
            progress.warn(
                f"{self.folder} has been changed, replaced or removed since it was opened, and this retriever searches "
                "the old documents. Call refresh, or load it again, to search the new ones"
            )

    def _answers(self, pools: Sequence[CandidatePool]) -> list[Answer | None]:
        """Return for the candidates of each query whether the query is probably answered; None without a threshold."""
        threshold = self.answer_threshold
        if threshold is None:
            return [None] * len(pools)
        features = answer_features(pools, [view.name for view in self.views], threshold.views)
        return [Answer(value, value >= threshold.threshold) for value in threshold.probabilities(features).tolist()]

    def _select(self, filter_: Filter) -> np.ndarray:
        """Return which documents pass a filter: bool, (documents,); of an engine, the filter in its language."""
        if self._fields is None:
            raise RecipeError("the search", [("filter", "this retriever has no index folder, which filters read")])
        passed: np.ndarray = self._fields.select(filter_)
        return passed
