"""Base class of the formats whose documents are rows with named fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.data.fields import FieldReader
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector, optional_integer, optional_text, required_text
from encloze.data.records import Document

_ID_FIELDS = ("_id", "id", "docid")


@dataclass(frozen=True)
class RowFormat(Format):
    """Base class of the formats whose documents are rows with named fields. A subclass implements ``rows``.

    The optional fields ``doc_id`` and ``position`` of a row are the id of the longer text that the document was cut
    from and its position in that text. The id of a row without an id is its number, counted from 0. The other fields of
    a row are kept as extra fields of the document.
    """

    path: Path
    """File or folder with the documents."""
    text_field: str = "text"
    """Name of the field with the text of a document."""
    title_field: str = "title"
    """Name of the field with the title of a document. Rows may lack this field."""
    id_field: str | None = None
    """Name of the field with the id of a document; by default the first of _id, id and docid that a row has."""
    kept_fields: tuple[str, ...] | None = None
    """Names of the other fields to keep with the documents and return with search results; by default all."""

    def rows(self, errors: ErrorCollector) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the location and the fields of each row."""
        raise NotImplementedError(type(self).__name__)

    def chosen_fields(self) -> list[str]:
        """Return the names of fields that are not the default ones."""
        names = {self.text_field: "text", self.title_field: "title", self.id_field: None}
        return [name for name, default in names.items() if name and name != default]

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        reader = FieldReader((self.text_field, self.title_field, "doc_id", "position"), self.kept_fields)
        has_hint, text_fields, chosen_ids = False, (self.text_field,), (self.id_field,) if self.id_field else ()
        for number, (location, row) in enumerate(self.rows(errors)):
            hint = ""
            if self.text_field not in row and not has_hint:
                hint, has_hint = self._hint(row), True
            text = required_text(row, text_fields, location, errors, hint)
            id_fields = chosen_ids or [name for name in _ID_FIELDS if name in row]
            id_ = required_text(row, id_fields, location, errors) if id_fields else str(number)
            title = optional_text(row, self.title_field, location, errors) or ""
            source = optional_text(row, "doc_id", location, errors) or None  # empty in a table
            position = optional_integer(row, "position", location, errors)
            if text is not None and id_ is not None:
                yield Document(id_, title, text, source, position, reader.read(row, id_fields[:1]))

    def judgments_remedy(self) -> str:
        return (
            f"If its rows are pairs of a query and a relevant text, use the format pairs: --dataset pairs "
            f'--dataset.path {self.path}, in Python {{"type": "pairs", "path": {str(self.path)!r}}}'
        )

    def titles_remedy(self) -> str:
        return "Set title_field of the corpus to the field with the titles"

    def _hint(self, row: dict[str, Any]) -> str:
        """Return the end of an error message for a row without text. It suggests the field with the longest string."""
        others = (*_ID_FIELDS, "doc_id", self.title_field, self.id_field)
        lengths = {name: len(value) for name, value in row.items() if isinstance(value, str) and name not in others}
        name = max(lengths, key=lambda name: lengths[name], default="FIELD")
        return (
            f" Set text_field to the field with the text, such as {name} (on the command line --corpus.text_field "
            f'{name}, in Python {{"type": "{self.name}", "path": ..., "text_field": "{name}"}})'
        )
