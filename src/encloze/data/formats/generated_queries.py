"""A data set of a corpus and a separate folder with queries and judgments, as written by the command generate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.storage.integrity import check_if_result


@dataclass(frozen=True)
class GeneratedQueries(Format, name="generated_queries"):
    """A corpus, and a folder with queries and judgments for it. Documents in that folder are ignored."""

    corpus: Format
    """Documents: a folder or file in any known format."""
    path: Path
    """Folder with the queries and judgments, as written by ``generate`` or in any other format that contains both."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.corpus.documents(errors)

    def pretraining_documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.corpus.pretraining_documents(errors)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        return self._query_format().queries(errors)

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        return self._query_format().judgments(split, errors)

    def splits(self) -> list[str]:
        return self._query_format().splits()

    def inputs(self, name: str) -> dict[str, Path | str]:
        return {name: self.path, **self.corpus.inputs(f"{name}.corpus")}

    def fingerprint(self) -> str:
        """Return the fingerprint of the corpus, because the documents in the cache do not depend on the queries."""
        return self.corpus.fingerprint()

    def _query_format(self) -> Format:
        """Return the format of the folder of queries.

        The format is not recognized before it is needed, because an earlier stage of a pipeline may have to write the
        folder first.
        """
        check_if_result(self.path)
        return Format.recognize(self.path)(path=self.path)  # type: ignore[call-arg]
