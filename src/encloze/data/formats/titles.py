"""A corpus whose titles serve as queries: a data set for texts without any queries or judgments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze import progress
from encloze.data.formats._hashed_queries import SPLITS, check_split, hashed_id, hashed_split
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, LabeledQuery, Query
from encloze.data.words import normalize_text
from encloze.errors import DataError


@dataclass(frozen=True)
class Titles(Format, name="titles"):
    """A corpus in which each title is a query, and the texts with that title are relevant to it.

    Titles are removed from the documents. Titles are not questions, but a model that finds a text by its title has
    learned something about the topics of the texts. Queries are split by a hash of their text: 8 of 10 for training, 1
    for dev and 1 for test.
    """

    corpus: Format
    """Documents whose titles become queries: a folder or file in any known format."""
    min_words: int = 2
    """Minimum number of words of a title that is used as a query."""
    max_documents_per_title: int = 5
    """Maximum number of documents with the same title. Titles of more documents are too general and are not used as
    queries."""

    def __post_init__(self) -> None:
        if self.min_words < 1 or self.max_documents_per_title < 1:
            raise ValueError("min_words and max_documents_per_title must be 1 or more")

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for document in self.corpus.documents(errors):
            yield document._replace(title="", text=strip_title(document.title, document.text))

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        queries, unused = self._queries(errors)
        short = sum(len(title.split()) < self.min_words for title in unused)
        if unused:
            progress.note(
                f"{len(queries):,} titles are queries. {short:,} titles of fewer than {self.min_words} words are not, "
                f"and {len(unused) - short:,} of more than {self.max_documents_per_title} documents or without text"
            )
        return (Query(hashed_id("title", key), query.text) for key, query in queries.items())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        check_split(self, split)
        for key, query in self._queries(errors)[0].items():
            if hashed_split(key) == split:
                yield from (Judgment(hashed_id("title", key), document, 1) for document in query.document_ids)

    def splits(self) -> list[str]:
        return list(SPLITS)

    def location(self) -> Path | str:
        return self.corpus.location()

    def fingerprint(self) -> str:
        settings = f"{self.min_words} {self.max_documents_per_title}"
        return hashlib.sha256(f"titles {settings} {self.corpus.fingerprint()}".encode()).hexdigest()[:32]

    def _queries(self, errors: ErrorCollector) -> tuple[dict[str, LabeledQuery], set[str]]:
        """Return each title that is used as a query with the ids of its documents, and the titles that are not used.

        All titles are normalized.
        """
        queries, titles = dict[str, LabeledQuery](), set[str]()
        for document in self.corpus.documents(errors):
            key = normalize_text(document.title)
            titles |= {key} - {""}
            if len(key.split()) >= self.min_words and strip_title(document.title, document.text):
                queries.setdefault(key, LabeledQuery(document.title.strip(), [])).document_ids.append(document.id)
        if not queries:
            raise DataError(
                f"{self.corpus.location()} has no titles with {self.min_words} or more words. "
                f"{self.corpus.titles_remedy()}, or give queries and judgments"
            )
        limit = self.max_documents_per_title
        used = {key: query for key, query in queries.items() if len(query.document_ids) <= limit}
        return used, titles - used.keys()


def strip_title(title: str, text: str) -> str:
    """Return ``text`` without ``title`` at its beginning.

    The text is not changed if it does not begin with the title, or if the title ends within a word of the text.
    """
    title, body = title.strip(), text.strip()
    rest = body[len(title) :]
    has_title = bool(title) and body[: len(title)].casefold() == title.casefold() and not rest[:1].isalnum()
    return rest.lstrip(" \n:.#-") if has_title else body
