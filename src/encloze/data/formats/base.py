"""Base class of the formats of data sets. Each format reads the files of one layout."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze import progress
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.family import Family
from encloze.settings import plain
from encloze.storage.content_checksums import content_checksum
from encloze.storage.hashes import hash_of
from encloze.storage.remote_files import is_remote

_VERSION = 3  # of the formats; a new version invalidates cached documents
_FEW_FILES = 10_000  # a list of these is made so fast that no progress is shown


def paths_below(folder: Path) -> Iterator[Path]:
    """Yield all files and folders below a folder. If there are very many, progress is shown."""
    paths = folder.rglob("*")
    yield from itertools.islice(paths, _FEW_FILES)
    if following := next(paths, None):
        yield following
        yield from progress.track(paths, f"Listing the files in {folder}", unit="files")


@dataclass(frozen=True)
class Format(Family):
    """Base class of formats of data sets. A format reads documents and, optionally, queries and judgments.

    In a recipe and on the command line, a path without the name of a format selects the first format that recognizes
    it. A subclass implements ``recognizes``; it also implements ``documents`` if its files contain documents,
    ``queries`` if they contain queries, and ``judgments`` and ``splits`` if they contain judgments.

    Example:
        >>> from encloze.data.formats.jsonl import Jsonl
        >>> Jsonl(Path("texts.jsonl")).location()
        PosixPath('texts.jsonl')
    """

    recognition_order: ClassVar[int] = 50
    """Order in which formats are tried for a path, lowest first. Stricter formats have lower numbers."""

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether the file or folder ``path`` appears to have this format."""
        return False

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        """Yield the documents of the data set, in the order of its files.

        Args:
            errors: Receives an error for each malformed document.

        Raises:
            DataError: There are no documents, or a file cannot be read.
        """
        raise DataError(f"{self.location()} contains no documents ({self.name} format)")

    def pretraining_documents(self, errors: ErrorCollector) -> Iterator[Document]:
        """Yield the documents that pre-training may use; by default all documents."""
        return self.documents(errors)

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        """Yield the queries of all splits.

        Args:
            errors: Receives an error for each malformed query.

        Raises:
            DataError: There are no queries, or a file cannot be read.
        """
        raise DataError(f"{self.location()} contains no queries ({self.name} format)")

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        """Yield the judgments of a split.

        Args:
            split: Name of the split.
            errors: Receives an error for each malformed judgment.

        Raises:
            DataError: There are no judgments for the split, or a file cannot be read.
        """
        raise DataError(f"{self.location()} contains no judgments ({self.name} format). {self.judgments_remedy()}")

    def judgments_remedy(self) -> str:
        """Return the sentence of error messages that says how to obtain a data set with queries and judgments."""
        return "Give a data set with queries and judgments"

    def titles_remedy(self) -> str:
        """Return the sentence of error messages that says how to obtain documents with titles."""
        return "Give documents with titles"

    def splits(self) -> list[str]:
        """Return the names of the splits that have judgments."""
        return []

    def location(self) -> Path | str:
        """Return the path of the data set, or the name of the format if it has no path, for messages and hashes."""
        return getattr(self, "path", self.name)

    def inputs(self, name: str) -> dict[str, Path | str]:
        """Return the files and folders that the format reads, keyed by names. Their hashes are saved with results.

        Args:
            name: Name of the setting whose value is this format, such as ``corpus``. This name is the key of the first
                file or folder. The keys of further files and folders start with this name.
        """
        return {name: self.location()}

    def document_files(self) -> list[Path]:
        """Return the files that ``documents`` reads; by default the path, or all files of a folder."""
        path = Path(self.location())
        return sorted(file for file in paths_below(path) if file.is_file()) if path.is_dir() else [path]

    def fingerprint(self) -> str:
        """Return a hash of the settings, and of the names and contents of the files that ``documents`` reads.

        Raises:
            DataError: A file cannot be read.
        """
        files = [file for file in self.document_files() if file.exists()]
        try:
            content = content_checksum(files)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
        settings = json.dumps(plain(self), sort_keys=True)
        return hash_of((_VERSION, settings, [str(file) for file in files], content))[:32]

    @classmethod
    def resolve_member(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class and the settings of the format that a recipe or the command line selects.

        If ``type_`` is the name of a format, that format is used. Otherwise ``type_`` or ``values["path"]`` is a path,
        and the format that recognizes this path is used.
        """
        is_named = type_ in cls.members() and (values or not Path(str(type_)).exists())
        if is_named or (type_ is None and "path" not in values):
            return super().resolve_member(type_, values)
        location = str(values.get("path") if type_ is None else type_)
        if is_remote(location):
            options = {name: value for name, value in values.items() if name != "path"}
            return cls.member("remote"), {"url": location} | ({"options": options} if options else {})
        path = Path(location)
        try:
            return cls.recognize(path), {**values, "path": path}
        except DataError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def recognize(cls, path: Path) -> type[Self]:
        """Return the format of a file or folder.

        Args:
            path: File or folder.

        Raises:
            DataError: The path does not exist, or no format recognizes it.
        """
        if not path.exists():
            is_name = len(path.parts) == 1
            known = f" (and no format has this name; known formats: {', '.join(cls.members())})" if is_name else ""
            raise DataError(f"{path}: there is no such file or folder{known}")
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        members = [cls.member(name) for name in cls.members()]
        for member in sorted(members, key=lambda member: member.recognition_order):
            if member.recognizes(path):
                return member
        names = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) if path.is_dir() else ""
        content = f" (the folder contains {names or 'nothing'})" if path.is_dir() else ""
        raise DataError(
            f"{path} has no known format{content}. Give a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/), "
            "MS MARCO's tsv files, a .jsonl, .csv, .tsv or .parquet file, a folder of .parquet, .txt or .md files, a "
            "folder that save_to_disk of the package datasets wrote, or TREC judgments"
        )
