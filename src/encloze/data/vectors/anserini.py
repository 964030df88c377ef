"""JSON lines that Anserini and Pyserini index: JsonVectorCollection and JsonDenseVectorCollection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.records import Representation
from encloze.data.vectors._jsonl import JsonlWriter, read_jsonl
from encloze.data.vectors._terms import rows_of_terms
from encloze.data.vectors.base import Kind, Layout, VectorFormat, Vectors
from encloze.errors import DataError


@dataclass(frozen=True)
class Anserini(VectorFormat, name="anserini"):
    """vectors.jsonl, with id, contents (empty) and vector: a list of numbers, or the impacts of tokens as integers.

    Impacts are indexed with the options -impact -pretokenized.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("dense", "sparse")
    file: ClassVar[str] = "vectors.jsonl"

    scale: float = 100.0
    """Factor of the term weights before they are rounded to integers, as Lucene needs them. Weights that are rounded to
    0 are left out."""

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, not {self.scale:g}")

    def writer(self, folder: Path, layout: Layout) -> _Writer:
        """Return a writer of a new file in an existing folder."""
        return _Writer(folder, layout, self.scale)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file (see ``VectorFormat.read``). Impacts are not divided by their scale."""
        return read_jsonl(file, term_numbers, num_terms)


class _Writer(JsonlWriter):
    def __init__(self, folder: Path, layout: Layout, scale: float) -> None:
        super().__init__(folder / Anserini.file, "contents")
        self._names, self._scale = layout.term_names, scale

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        if vectors.sparse is None:
            self.write(ids, ([float(f"{x:.9g}") for x in row] for row in vectors.dense.tolist()))
            return
        if vectors.sparse.data.min(initial=0) < 0:
            raise DataError("Lucene's impacts are above 0, and the model has negative term weights. Use parquet")
        self.write(ids, (self._impacts(*row) for row in rows_of_terms(vectors.sparse, self._names)))

    def _impacts(self, terms: Sequence[str], weights: Sequence[float]) -> dict[str, int]:
        impacts = {term: round(weight * self._scale) for term, weight in zip(terms, weights, strict=True)}
        return {term: impact for term, impact in impacts.items() if impact}
