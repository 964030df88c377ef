"""JSON lines that Seismic indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.records import Representation
from encloze.data.vectors._jsonl import JsonlWriter, read_jsonl
from encloze.data.vectors._terms import rows_of_terms
from encloze.data.vectors.base import Kind, Layout, TermNames, VectorFormat, Vectors


@dataclass(frozen=True)
class Seismic(VectorFormat, name="seismic"):
    """documents.jsonl, with id, content (empty) and vector: the weights of tokens."""

    kinds: ClassVar[tuple[Kind, ...]] = ("sparse",)
    file: ClassVar[str] = "documents.jsonl"

    def writer(self, folder: Path, layout: Layout) -> _Writer:
        """Return a writer of a new file in an existing folder."""
        return _Writer(folder, layout.term_names)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file (see ``VectorFormat.read``)."""
        return read_jsonl(file, term_numbers, num_terms)


class _Writer(JsonlWriter):
    def __init__(self, folder: Path, names: TermNames) -> None:
        super().__init__(folder / Seismic.file, "content")
        self._names = names

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        rows = rows_of_terms(vectors.sparse, self._names)
        self.write(ids, (dict(zip(terms, weights, strict=True)) for terms, weights in rows))
