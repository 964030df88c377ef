"""Pairs of a question and its answer, or of any text that asks and one that is sought: a data set without judgments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats._questions import SPLITS, check_split, id_of, split_of
from encloze.data.formats.base import Format
from encloze.data.lines import Faults, bare_suffix, columns, field_of, json_objects, optional_text
from encloze.data.records import Document, Judgment, Query, Question
from encloze.data.words import normalized
from encloze.errors import DataError


@dataclass(frozen=True)
class Pairs(Format, name="pairs"):
    """A .jsonl file with two fields a line, or a .tsv file with two columns, plain or gzipped; chosen by its name.

    Each distinct answer is a document and each distinct question a query, to which all of its answers are relevant.
    Queries are split by a hash of their words: eight of ten are for training, one for dev and one for test.
    """

    path: Path
    """The file."""
    query_field: str = "question"
    """The field that holds what asks (of JSON lines; in a .tsv file it is the first column)."""
    text_field: str = "answer"
    """The field that holds what is sought (the second column)."""
    title_field: str = "title"
    """The field that holds the title of what is sought; a line may lack it."""

    def documents(self, faults: Faults) -> Iterator[Document]:
        known = set[str]()
        for _, title, text in self._pairs(faults):
            id_ = _id(title, text)
            if id_ not in known:
                known.add(id_)
                yield Document(id_, title, text)

    def queries(self, faults: Faults) -> Iterator[Query]:
        return (Query(id_of("question", words), asked.text) for words, asked in self._asked(faults).items())

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        check_split(self, split)
        for words, asked in self._asked(faults).items():
            if split_of(words) == split:
                yield from (Judgment(id_of("question", words), document, 1) for document in asked.documents)

    def splits(self) -> list[str]:
        return list(SPLITS)

    def _asked(self, faults: Faults) -> dict[str, Question]:
        """The questions by their words."""
        found: dict[str, Question] = {}
        for question, title, text in self._pairs(faults):
            documents, id_ = found.setdefault(normalized(question), Question(question, [])).documents, _id(title, text)
            if id_ not in documents:
                documents.append(id_)
        return found

    def _pairs(self, faults: Faults) -> Iterator[tuple[str, str, str]]:
        """The question of each line, and the title and text of its answer; what lacks one becomes a fault."""
        if not self.path.is_file():
            raise DataError(f"{self.path}: there is no such file of pairs")
        lines = self._columns(faults) if bare_suffix(self.path) == ".tsv" else self._objects(faults)
        for where, question, title, text in lines:
            if question.strip() and text.strip():
                yield question.strip(), title.strip(), text.strip()
            else:
                faults.add(where, f"the {'answer' if question.strip() else 'question'} is empty")

    def _columns(self, faults: Faults) -> Iterator[tuple[str, str, str, str]]:
        for where, (question, text, *_) in columns(self.path, 2, faults):
            yield where, question, "", text

    def _objects(self, faults: Faults) -> Iterator[tuple[str, str, str, str]]:
        for where, value in json_objects(self.path, faults):
            question, text = (
                field_of(value, (getattr(self, f"{what}_field"),), where, faults, f" Map it with {what}_field")
                for what in ("query", "text")
            )
            title = optional_text(value, self.title_field, where, faults) or ""
            if question is not None and text is not None:
                yield where, question, title, text


def _id(title: str, text: str) -> str:
    return id_of("answer", f"{title}\0{text}")
