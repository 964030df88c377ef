"""Data sets in an object store or on a web server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.storage.remote_files import is_remote, local_copy


@dataclass(frozen=True)
class Remote(Format, name="remote"):
    """Files in an object store or on a web server. They are copied into the cache, and read as if they were local.

    An address in place of a path selects this format: ``--corpus s3://bucket/texts.jsonl``. It needs the package fsspec
    (``pip install 'encloze[remote]'``), and the package of the object store, such as s3fs or gcsfs.
    """

    url: str
    """Address of a file or folder in any known format: s3://, gs://, az://, hf://, https:// and what else fsspec
    knows."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the format of the files, such as {text_field: body}, or {type: jsonl} to choose the format."""

    def __post_init__(self) -> None:
        if not is_remote(self.url):
            raise ValueError(f"{self.url!r} is no address such as s3://bucket/texts.jsonl")

    def local(self) -> Format:
        """Return the format that reads the local copy of the files, which are copied first."""
        values = {**self.options, "path": str(local_copy(self.url))}
        found: Format = recipe.coerce(Format, values, source=self.url, name="options")
        return found

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.local().documents(errors)

    def pretraining_documents(self, errors: ErrorCollector) -> Iterator[Document]:
        return self.local().pretraining_documents(errors)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        return self.local().queries(errors)

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        return self.local().judgments(split, errors)

    def judgments_remedy(self) -> str:
        return self.local().judgments_remedy()

    def titles_remedy(self) -> str:
        return self.local().titles_remedy()

    def splits(self) -> list[str]:
        return self.local().splits()

    def location(self) -> Path | str:
        return self.url

    def inputs(self, name: str) -> dict[str, Path | str]:
        return self.local().inputs(name)

    def document_files(self) -> list[Path]:
        return self.local().document_files()

    def fingerprint(self) -> str:
        return self.local().fingerprint()
