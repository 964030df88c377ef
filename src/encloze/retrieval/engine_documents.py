"""The documents of a collection in a search engine, read on access, with the interface of ``Corpus``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.corpus_files import write_documents
from encloze.data.filters import Filter, filter_error
from encloze.data.ids import DocumentIds, NumberById
from encloze.data.records import Document, full_text
from encloze.errors import EndpointError, RecipeError
from encloze.family import nearest
from encloze.search.engines.base import EngineCollection, document_numbers

_MAX_KNOWN = 1_000_000  # ids in memory


class EngineDocuments(Corpus):
    """Documents in a search engine. The number of a document is a hash of its id (see ``document_numbers``).

    Iteration is in the order of the engine, and reads the whole collection.
    """

    def __init__(self, collection: EngineCollection) -> None:
        """Create the documents of a collection, which exists."""
        self._collection, self.format, self.file = collection, None, Path()

    def __len__(self) -> int:
        return self._collection.count()

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        """Return a document by its number, or a slice of the documents in the order of iteration."""
        if isinstance(index, slice):
            return list(islice(self, index.start, index.stop, index.step))
        return self.take(np.array([index], np.int64))[0]

    def __iter__(self) -> Iterator[Document]:
        for numbers, _ in self._collection.select():
            yield from filter(None, self._collection.documents(numbers))

    @cached_property
    def ids(self) -> DocumentIds:
        """Ids by document number."""
        return EngineIds(self._collection)

    @cached_property
    def number_of(self) -> NumberById:
        """Mapping from the id of each document to its number."""
        return EngineNumbers(self._collection, self.ids)

    @cached_property
    def sources(self) -> frozenset[str]:
        """Ids of the longer texts that the documents were cut from; reads the whole collection."""
        return frozenset(document.id if document.source is None else document.source for document in self)

    @cached_property
    def fingerprint(self) -> str:
        """Not available: the documents in an engine can change at any time."""
        message = "the documents in a search engine have no fingerprint. Give the files that they were read from"
        raise RecipeError("the index", [("corpus", message)])

    def sources_of(self, numbers: np.ndarray) -> list[str]:
        """Return the ids of the longer texts that documents were cut from (see ``Corpus.sources_of``)."""
        return [d.id if d.source is None else d.source for d in self.take(numbers)]

    def take(self, numbers: np.ndarray) -> list[Document]:
        """Return documents by their numbers. Raises EndpointError if another process has deleted one."""
        found = self._collection.documents(np.asarray(numbers, np.int64))
        documents = [document for document in found if document is not None]
        if len(documents) < len(found):
            raise _deleted()
        return documents

    def texts(self, numbers: Sequence[int] | np.ndarray | None = None) -> Iterator[str]:
        """Yield the title followed by the text of documents (see ``Corpus.texts``)."""
        documents = self if numbers is None else self.take(np.asarray(numbers, np.int64))
        yield from (full_text(document.title, document.text) for document in documents)

    def save(self, file: Path) -> None:
        """Write the documents to an Arrow file, which ``Corpus`` opens."""
        write_documents(iter(self), file)

    def column(self, name: str) -> Any:
        """Return one field of all documents as an Arrow array (see ``Corpus.column``); reads the whole collection."""
        import pyarrow as pa

        return pa.chunked_array([[getattr(document, name) for document in self]])


class EngineIds(DocumentIds):
    """Ids by document number. Those that were read stay in memory, because a number always has the same id."""

    def __init__(self, collection: EngineCollection) -> None:
        self._collection, self._known = collection, dict[int, str]()

    def __len__(self) -> int:
        return self._collection.count()

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(islice(self, index.start, index.stop, index.step))
        return self.take(np.array([index], np.int64))[0]

    def __iter__(self) -> Iterator[str]:
        for _, ids in self._collection.select():
            yield from ids

    def take(self, numbers: np.ndarray) -> list[str]:
        """Return ids by document numbers. Raises EndpointError if another process has deleted a document."""
        unknown = np.array([number for number in np.unique(numbers).tolist() if number not in self._known], np.int64)
        if len(self._known) + len(unknown) > _MAX_KNOWN:
            self._known, unknown = {}, np.unique(numbers)
        for number, document in zip(unknown.tolist(), self._collection.documents(unknown), strict=True):
            if document is None:
                raise _deleted()
            self._known[number] = document.id
        return [self._known[number] for number in numbers.tolist()]

    def knows(self, number: int, id_: str) -> bool:
        """Return whether a document with this number and this id was read before."""
        return self._known.get(number) == id_


class EngineNumbers(NumberById):
    """Mapping from the ids of the documents in a collection to their numbers."""

    def __init__(self, collection: EngineCollection, ids: DocumentIds) -> None:
        self._collection, self._ids = collection, ids

    def __getitem__(self, id_: str) -> int:
        number = int(document_numbers([id_])[0])
        if isinstance(self._ids, EngineIds) and self._ids.knows(number, id_):
            return number
        if self.find([id_])[0] < 0:
            raise KeyError(id_)
        return number

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Return the numbers of documents by their ids, and -1 for unknown ids: int64, (ids,)."""
        numbers = document_numbers(ids)
        documents = self._collection.documents(numbers)
        is_known = [document is not None and document.id == id_ for document, id_ in zip(documents, ids, strict=True)]
        return np.where(np.array(is_known, np.bool_), numbers, -1)


class EngineFields:
    """The fields of the documents in a collection, for filters.

    Attributes:
        names: Names of the fields that documents had when they were added.
    """

    def __init__(self, collection: EngineCollection, names: frozenset[str]) -> None:
        self._collection, self.names = collection, names

    def select(self, filter_: Filter) -> Any:
        """Return a filter in the language of the engine.

        Raises:
            RecipeError: No document has a field of the filter, or the engine has no such comparison.
        """
        if unknown := sorted(filter_.fields - self.names - {"source", "position"}):
            known = nearest(unknown[0], sorted(self.names))
            raise filter_error(f"no document has the field {unknown[0]!r}; {known}")
        return self._collection.translate(filter_)


def _deleted() -> EndpointError:
    return EndpointError("a document was deleted from the search engine during the search. Search again")
