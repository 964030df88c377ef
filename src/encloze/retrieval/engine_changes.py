"""Changes of an index whose documents are in a search engine: adding, replacing and deleting documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.data.corpus import Corpus
from encloze.data.filters import Filter
from encloze.data.records import Document, full_text
from encloze.encoders.base import Encoder
from encloze.errors import DataError, RecipeError
from encloze.retrieval.engine_building import encoded_batches, send
from encloze.retrieval.engine_documents import EngineFields
from encloze.retrieval.engine_index import (
    EngineState,
    commit_engine_state,
    connect,
    engine_views,
    read_engine_state,
)
from encloze.retrieval.index_change import IndexChange, Replacement
from encloze.retrieval.index_folder import check_index, check_model, stored_engine, view_entries
from encloze.search.engines._field_values import NAMES, field_values
from encloze.search.engines.base import EngineCollection, EngineView, document_numbers
from encloze.storage.disk import explain_write_errors
from encloze.storage.output_lock import lock_output

_BATCH = 1000
_LONGEST_LISTING = 5


@dataclass
class _Change:
    """An index folder that is locked, and its collection."""

    folder: Path
    entries: list[dict[str, Any]]
    views: Mapping[str, EngineView]
    collection: EngineCollection
    state: EngineState

    def existing(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with some ids. Raise DataError if one has the same hash as another id."""
        found = list[Document]()
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            for id_, document in zip(part, self.collection.documents(document_numbers(part)), strict=True):
                if document and document.id != id_:
                    message = f"the ids {id_!r} and {document.id!r} have the same hash, by which search engines know"
                    raise DataError(f"{message} documents. Change one of them")
                found += [document] if document else []
        return found

    def of_filter(self, filter_: Filter) -> list[Document]:
        """Return the documents that pass a filter."""
        where = EngineFields(self.collection, self.state.fields).select(filter_)
        batches = [numbers for numbers, _ in self.collection.select(where)]
        return [document for numbers in batches for document in self.collection.documents(numbers) if document]

    def remove(self, documents: Sequence[Document]) -> None:
        """Delete documents from the collection and from the statistics."""
        self.collection.delete(document_numbers([document.id for document in documents]))
        self.uncount(documents)

    def uncount(self, documents: Sequence[Document]) -> None:
        """Subtract documents, which are deleted or replaced, from the statistics."""
        for statistics in self.state.statistics.values():
            statistics.remove(full_text(document.title, document.text) for document in documents)

    def commit(self, fields: frozenset[str] = frozenset()) -> None:
        """Store the statistics and the names of fields in the folder."""
        self.state = EngineState(self.state.number + 1, self.state.fields | fields, self.state.statistics)
        commit_engine_state(self.folder, self.state)

    def result(self, **counts: Any) -> IndexChange:
        """Return the result of the change."""
        return IndexChange(self.folder, self.collection.count(), 1, **counts)


def add_documents(folder: Path, documents: Corpus, encoder: Encoder | None, replace: Replacement) -> IndexChange:
    """Add documents to an index in a search engine (see ``changes.add_documents``).

    If that fails, the added documents are deleted again. Of documents that replace others, some may be new then.
    """
    with _change(folder) as change:
        for entry in change.entries:
            if entry["model"] and encoder is None:
                message = f"the index {entry['name']} was built by {entry['model']}, which must encode the documents"
                raise RecipeError("the index", [("encoder", message)])
            if entry["model"] and encoder:
                check_model(folder, entry, encoder)
        replaced = change.existing(list(documents.ids))
        if replaced and replace == "none":
            raise DataError(_already(folder, replaced, len(documents)))
        parts = None
        if encoder and any(entry["model"] for entry in change.entries):
            encoded = encoder.represent_documents(documents.texts(), len(documents))
            parts = (encoder.similarity.for_inner_products(part) for part in encoded)
        others = _of_same_sources(change, documents) if replace == "source" else []
        statistics, fields = change.state.statistics, set[str]()
        change.uncount(replaced)
        for of_view in statistics.values():
            of_view.add(documents.texts())
        kept, sent = {document.id for document in replaced}, list[str]()
        try:
            for batch, part in encoded_batches(documents, parts):
                sent += [document.id for document in batch if document.id not in kept]
                send(change.collection, change.views, statistics, batch, part)
                fields.update(name for document in batch for name in field_values(document)[NAMES])
        except BaseException:
            change.collection.delete(document_numbers(sent))
            raise
        if others:
            change.remove(others)
        change.commit(frozenset(fields))
        return change.result(added=len(documents), replaced=len(replaced), deleted=len(others))


def delete_documents(folder: Path, ids: Sequence[str] | None, filter_: Filter | None) -> IndexChange:
    """Delete documents from an index in a search engine (see ``changes.delete_documents``)."""
    with _change(folder) as change:
        missing = tuple[str, ...]()
        if ids is None:
            assert filter_ is not None  # the caller gives one of them
            documents = change.of_filter(filter_)
        else:
            unique = list(dict.fromkeys(ids))
            documents = change.existing(unique)
            known = {document.id for document in documents}
            missing = tuple(id_ for id_ in unique if id_ not in known)
        if documents:
            change.remove(documents)
            change.commit()
        return change.result(deleted=len(documents), missing=missing)


@contextmanager
def _change(folder: Path) -> Iterator[_Change]:
    """Lock an index folder, and connect to its collection."""
    folder = folder.resolve()  # a symbolic link and the folder have one lock
    with lock_output(folder), explain_write_errors(folder):
        check_index(folder)
        entries, stored = view_entries(folder), stored_engine(folder)
        assert stored is not None  # the caller checks
        state = read_engine_state(folder, entries)
        collection = connect(folder, stored, entries)
        try:
            yield _Change(folder, entries, engine_views(folder, entries), collection, state)
        finally:
            collection.close()


def _of_same_sources(change: _Change, documents: Corpus) -> list[Document]:
    """Return the documents in the index that were cut from the same longer texts, but are not among the documents."""
    sources = sorted({source for source in documents.column("source").to_pylist() if source is not None})
    ids, found = set(documents.ids), dict[str, Document]()
    for start in range(0, len(sources), _BATCH):
        for document in change.of_filter(Filter.of({"source": sources[start : start + _BATCH]})):
            if document.id not in ids:
                found[document.id] = document
    return list(found.values())


def _already(folder: Path, existing: Sequence[Document], count: int) -> str:
    """Return the message that documents to add are in the index already."""
    listed = ", ".join(document.id for document in existing[:_LONGEST_LISTING])
    more = f" and {len(existing) - _LONGEST_LISTING:,} more" if len(existing) > _LONGEST_LISTING else ""
    return (
        f"{len(existing):,} of {count:,} documents are in the index {folder} already, and none was added: "
        f"{listed}{more}. Use update to replace them"
    )
