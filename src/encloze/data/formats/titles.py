"""A corpus whose titles ask for its texts: a data set where nobody has asked or judged anything yet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats._questions import SPLITS, check_split, id_of, split_of
from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query, Question
from encloze.data.words import normalized
from encloze.errors import DataError


@dataclass(frozen=True)
class Titles(Format, name="titles"):
    """Each title is a query, and what it heads is relevant to it; the texts are read without it.

    A title is no question, but a model that finds a text by its title has learnt what texts are about. Queries are
    split by a hash of their words, and their texts with them.
    """

    corpus: Format
    """The texts: a folder or file in any known format."""
    least_words: int = 2
    """Shorter titles are no queries."""
    most_texts: int = 5
    """Titles that head more texts do not tell what is sought, and are no queries."""

    def __post_init__(self) -> None:
        if self.least_words < 1 or self.most_texts < 1:
            raise ValueError("least_words and most_texts must be 1 or more")

    def documents(self, faults: Faults) -> Iterator[Document]:
        for document in self.corpus.documents(faults):
            yield document._replace(title="", text=untitled(document.title, document.text))

    def queries(self, faults: Faults) -> Iterator[Query]:
        return (Query(id_of("title", words), asked.text) for words, asked in self._asked(faults).items())

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        check_split(self, split)
        for words, asked in self._asked(faults).items():
            if split_of(words) == split:
                yield from (Judgment(id_of("title", words), document, 1) for document in asked.documents)

    def splits(self) -> list[str]:
        return list(SPLITS)

    def place(self) -> Path | str:
        return self.corpus.place()

    def fingerprint(self) -> str:
        own = f"{self.least_words} {self.most_texts}"
        return hashlib.sha256(f"titles {own} {self.corpus.fingerprint()}".encode()).hexdigest()[:32]

    def _asked(self, faults: Faults) -> dict[str, Question]:
        """By the words of each title that is a query: the title, and the texts that it heads."""
        found: dict[str, Question] = {}
        for document in self.corpus.documents(faults):
            words = normalized(document.title)
            if len(words.split()) >= self.least_words and untitled(document.title, document.text):
                found.setdefault(words, Question(document.title.strip(), [])).documents.append(document.id)
        if not found:
            raise DataError(
                f"{self.corpus.place()} has no titles of {self.least_words} words or more. Map them with the corpus's "
                "title_field, or give queries and judgments"
            )
        return {words: asked for words, asked in found.items() if len(asked.documents) <= self.most_texts}


def untitled(title: str, text: str) -> str:
    """A text without the title, where it begins with it; a word that only begins as the title ends stays whole."""
    title, body = title.strip(), text.strip()
    rest = body[len(title) :]
    begins = bool(title) and body[: len(title)].casefold() == title.casefold() and not rest[:1].isalnum()
    return rest.lstrip(" \n:.#-") if begins else body
