"""Passages of another collection: its long documents are cut, and each passage is a document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from encloze.data.chunkers.base import Chunker, Passage
from encloze.data.chunkers.sentences import Sentences
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.settings import plain


@dataclass(frozen=True)
class Passages(Format, name="passages"):
    """The documents of another collection, cut into passages. Queries and judgments are those of the collection.

    A passage has the id ``DOCUMENT#NUMBER``, the title of its document with the headings of its section, the document
    as ``source``, its number as ``position``, and all fields of the document. The fields ``passage_begin`` and
    ``passage_end`` are its place in the text of the document, in characters. A document without text is one passage.

    Judgments refer to documents, not to passages: evaluate with ``passage_aggregation: max``.
    """

    corpus: Format
    """Documents to cut: a folder or file in any known format."""
    chunker: Chunker = field(default_factory=Sentences)
    """How texts are cut: by sentences, words, tokens or headings."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for document in self.corpus.documents(errors):
            location = errors.location
            passages = self.chunker.cut(document.text) or [Passage(0, len(document.text))]
            for position, passage in enumerate(passages):
                errors.location = location
                yield self._passage(document, passage, position)

    def _passage(self, document: Document, passage: Passage, position: int) -> Document:
        title = " / ".join(dict.fromkeys(filter(None, (document.title, *passage.headings))))
        fields = {**document.fields, "passage_begin": passage.begin, "passage_end": passage.end}
        if document.source is not None:  # so that filters still find it
            fields.setdefault("source", document.source)
        text = document.text[passage.begin : passage.end]
        return Document(f"{document.id}#{position}", title, text, document.id, position, fields)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        return self.corpus.queries(errors)

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        return self.corpus.judgments(split, errors)

    def judgments_remedy(self) -> str:
        return self.corpus.judgments_remedy()

    def titles_remedy(self) -> str:
        return self.corpus.titles_remedy()

    def splits(self) -> list[str]:
        return self.corpus.splits()

    def location(self) -> Path | str:
        return self.corpus.location()

    def inputs(self, name: str) -> dict[str, Path | str]:
        return self.corpus.inputs(name)

    def fingerprint(self) -> str:
        settings = json.dumps(plain(self.chunker), sort_keys=True)
        parts = f"passages {settings} {self.chunker.fingerprint()} {self.corpus.fingerprint()}"
        return hashlib.sha256(parts.encode()).hexdigest()[:32]
