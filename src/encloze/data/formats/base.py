"""A format: a place that holds texts, and perhaps queries and judgments, and how they are written there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.family import Family
from encloze.settings import plain


@dataclass(frozen=True)
class Format(Family):
    """Texts at a place; a bare path in a recipe or flag is looked at and recognised."""

    rank: ClassVar[int] = 50
    """Recognition asks the formats in this order: the pickiest first."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether what is at ``path`` looks like this format."""
        return False

    def documents(self, faults: Faults) -> Iterator[Document]:
        """The documents, in order; malformed ones become faults."""
        raise DataError(f"{self.place()} holds no documents ({self.name} format)")

    def pretraining_documents(self, faults: Faults) -> Iterator[Document]:
        """The documents as pre-training may see them."""
        return self.documents(faults)

    def queries(self, faults: Faults) -> Iterator[Query]:
        """All queries."""
        raise DataError(f"{self.place()} holds no queries ({self.name} format)")

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        """The judgments of a split."""
        raise DataError(f"{self.place()} holds no judgments ({self.name} format)")

    def splits(self) -> list[str]:
        """The splits that have judgments."""
        return []

    def place(self) -> Path | str:
        """Where the texts are, for messages and hashes."""
        return getattr(self, "path", self.name)

    def inputs(self, name: str) -> dict[str, Path | str]:
        """What it reads, to be hashed beside a result, under the name of the setting that holds it."""
        return {name: self.place()}

    def fingerprint(self) -> str:
        """Changes when the settings, or any file's name, size or time of change, do."""
        digest = hashlib.sha256(json.dumps(plain(self), sort_keys=True).encode())
        place = Path(self.place())
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in files:
            if file.exists():
                digest.update(f"{file}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]

    @classmethod
    def chosen(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """A member by name, or whatever recognises the path that stands in its place."""
        is_named = type_ in cls.members() and (values or not Path(str(type_)).exists())
        if is_named or (type_ is None and "path" not in values):
            return super().chosen(type_, values)
        path = Path(str(values.get("path") if type_ is None else type_))
        try:
            return cls.recognised(path), {**values, "path": path}
        except DataError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def recognised(cls, path: Path) -> type[Self]:
        """The format of what is at ``path``; raise DataError where there is nothing, or nothing known."""
        if not path.exists():
            named = f" (and no format is called so: {', '.join(cls.members())})" * (len(path.parts) == 1)
            raise DataError(f"{path}: there is no such file or folder{named}")
        if path.is_file() and path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        members = [cls.member(name) for name in cls.members()]
        for member in sorted(members, key=lambda member: member.rank):
            if member.recognises(path):
                return member
        inside = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) if path.is_dir() else ""
        held = f" (it holds {inside or 'nothing'})" if path.is_dir() else ""
        raise DataError(
            f"{path} is no data set that encloze knows{held}. Known: a folder in BEIR layout (corpus.jsonl, "
            "queries.jsonl, qrels/), MS MARCO's tsv files, a .jsonl or .tsv file, a folder of .txt or .md files, "
            "TREC judgments"
        )
