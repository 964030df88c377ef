"""Pairs of a query and a relevant text, such as questions and answers: a data set without explicit judgments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats._hashed_queries import SPLITS, check_split, hashed_id, hashed_split
from encloze.data.formats.base import Format
from encloze.data.lines import (
    ErrorCollector,
    optional_text,
    read_columns,
    read_json_lines,
    required_text,
    uncompressed_suffix,
)
from encloze.data.records import Document, Judgment, LabeledQuery, Query
from encloze.data.words import normalize_text
from encloze.errors import DataError


@dataclass(frozen=True)
class Pairs(Format, name="pairs"):
    """A .jsonl file with two fields per line, or a .tsv file with two columns, plain or gzipped.

    The format must be selected by name, because a path alone does not identify it. Each distinct answer is a document.
    Each distinct question is a query, and all of its answers are relevant to it. Queries are split by a hash of their
    text: 8 of 10 for training, 1 for dev and 1 for test.
    """

    path: Path
    """The .jsonl or .tsv file of pairs, plain or gzipped."""
    query_field: str = "question"
    """Name of the field with the query in a .jsonl file. In a .tsv file, the query is in the first column."""
    text_field: str = "answer"
    """Name of the field with the relevant text in a .jsonl file. In a .tsv file, this text is in the second column."""
    title_field: str = "title"
    """Name of the field with the title of the relevant text in a .jsonl file. Lines may lack this field."""

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
        if not self.path.is_file():
            raise DataError(f"{self.path} does not exist or is not a file. Give the .jsonl or .tsv file of pairs")
        rows = self._tsv_rows(errors) if uncompressed_suffix(self.path) == ".tsv" else self._jsonl_rows(errors)
        for location, question, title, text in rows:
            if question.strip() and text.strip():
                yield question.strip(), title.strip(), text.strip()
            else:
                errors.add(location, f"the {'answer' if question.strip() else 'question'} is empty")

    def _tsv_rows(self, errors: ErrorCollector) -> Iterator[tuple[str, str, str, str]]:
        for location, (question, text, *_) in read_columns(self.path, 2, errors):
            yield location, question, "", text

    def _jsonl_rows(self, errors: ErrorCollector) -> Iterator[tuple[str, str, str, str]]:
        for location, row in read_json_lines(self.path, errors):
            question, text = (
                required_text(row, (getattr(self, name),), location, errors, f" Name the field with {name}")
                for name in ("query_field", "text_field")
            )
            title = optional_text(row, self.title_field, location, errors) or ""
            if question is not None and text is not None:
                yield location, question, title, text


def _answer_id(title: str, text: str) -> str:
    return hashed_id("answer", f"{title}\0{text}")
