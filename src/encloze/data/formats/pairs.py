"""Pairs of a query and a relevant text, such as questions and answers: a data set without explicit judgments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.arrow_rows import is_saved_dataset, parquet_files, read_parquet, read_saved_dataset
from encloze.data.delimited import PAIRS, read_table
from encloze.data.formats._hashed_queries import SPLITS, check_split, hashed_id, hashed_split
from encloze.data.formats.base import Format
from encloze.data.lines import (
    ErrorCollector,
    optional_text,
    read_json_lines,
    required_text,
    uncompressed_suffix,
)
from encloze.data.records import Document, Judgment, LabeledQuery, Query
from encloze.data.words import normalize_text
from encloze.errors import DataError


@dataclass(frozen=True)
class Pairs(Format, name="pairs"):
    """A file of pairs: .jsonl, .csv, .tsv (each plain or gzipped) or .parquet; or a folder as in parquet or hf_dataset.

    The columns of a .csv or .tsv file are known by words such as question, query, answer and text in its header row. A
    .tsv file without a header row has two columns, the query and the relevant text.

    The format must be selected by name, because a path alone does not identify it. Each distinct answer is a document.
    Each distinct question is a query, and all of its answers are relevant to it. Queries are split by a hash of their
    text: 8 of 10 for training, 1 for dev and 1 for test.
    """

    path: Path
    """The file or folder of pairs."""
    query_field: str = "question"
    """Name of the field with the query."""
    text_field: str = "answer"
    """Name of the field with the relevant text."""
    title_field: str = "title"
    """Name of the field with the title of the relevant text. Rows may lack this field."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        seen = set[str]()
        for _, title, text in self._pairs(errors):
            id_ = _answer_id(title, text)
            if id_ not in seen:
                seen.add(id_)
                yield Document(id_, title, text)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        return (Query(hashed_id("question", key), query.text) for key, query in self._queries(errors).items())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        check_split(self, split)
        for key, query in self._queries(errors).items():
            if hashed_split(key) == split:
                yield from (Judgment(hashed_id("question", key), document, 1) for document in query.document_ids)

    def splits(self) -> list[str]:
        return list(SPLITS)

    def _queries(self, errors: ErrorCollector) -> dict[str, LabeledQuery]:
        """Return each distinct query with the ids of its answers, keyed by the normalized text of the query."""
        queries: dict[str, LabeledQuery] = {}
        for question, title, text in self._pairs(errors):
            query = queries.setdefault(normalize_text(question), LabeledQuery(question, []))
            if (id_ := _answer_id(title, text)) not in query.document_ids:
                query.document_ids.append(id_)
        return queries

    def _pairs(self, errors: ErrorCollector) -> Iterator[tuple[str, str, str]]:
        """Yield the question, title and answer of each line. If one is empty, an error is added to ``errors``."""
        is_folder = is_saved_dataset(self.path) or (self.path.is_dir() and parquet_files(self.path))
        if not self.path.is_file() and not is_folder:
            raise DataError(f"{self.path} does not exist or contains no pairs. Give the file or folder of pairs")
        for location, question, title, text in self._rows(errors):
            if question.strip() and text.strip():
                yield question.strip(), title.strip(), text.strip()
            else:
                errors.add(location, f"the {'answer' if question.strip() else 'question'} is empty")

    def _rows(self, errors: ErrorCollector) -> Iterator[tuple[str, str, str, str]]:
        """Yield the location, question, title and answer of each row. Each missing one is added to ``errors``."""
        suffix, rows = uncompressed_suffix(self.path).lower(), read_json_lines(self.path, errors)
        names = (self.query_field, self.text_field, self.title_field)
        if is_saved_dataset(self.path):
            rows = read_saved_dataset(self.path, None, errors)
        elif suffix == ".parquet" or self.path.is_dir():
            rows = read_parquet(parquet_files(self.path), errors)
        elif suffix in (".csv", ".tsv"):
            chosen = [name for name in names if name not in PAIRS]
            rows = read_table(self.path, errors, PAIRS, (("question", "answer"),), chosen)
        for location, row in rows:
            question, text = (
                required_text(row, (getattr(self, name),), location, errors, f" Name the field with {name}")
                for name in ("query_field", "text_field")
            )
            title = optional_text(row, self.title_field, location, errors) or ""
            if question is not None and text is not None:
                yield location, question, title, text


def _answer_id(title: str, text: str) -> str:
    return hashed_id("answer", f"{title}\0{text}")
