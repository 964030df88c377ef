"""Parquet files with the id, the embedding and the term weights of one text per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from encloze.data.records import Representation
from encloze.data.vectors._terms import rows_of_terms, term_matrix
from encloze.data.vectors.base import ROWS, Kind, Layout, VectorFormat, Vectors
from encloze.errors import DataError

_IDS, _EMBEDDINGS = ("id", "docid", "_id"), ("dense", "vector", "embedding")


@dataclass(frozen=True)
class ParquetVectors(VectorFormat, name="parquet"):
    """vectors.parquet, with the columns id, dense (a list of float32), terms (a list of tokens) and weights.

    Files of other programs are read, too: ids may be in a column docid or _id, embeddings in vector or embedding.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("dense", "sparse")
    holds_both: ClassVar[bool] = True
    file: ClassVar[str] = "vectors.parquet"

    def writer(self, folder: Path, layout: Layout) -> _Writer:
        """Return a writer of a new file in an existing folder."""
        return _Writer(folder, layout)

    @classmethod
    def read(cls, file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
        """Yield the vectors in a file (see ``VectorFormat.read``)."""
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(file) as stored:
                names = stored.schema_arrow.names
                ids, dense = (next((n for n in known if n in names), None) for known in (_IDS, _EMBEDDINGS))
                has_terms = {"terms", "weights"} <= set(names)
                if dense is None and not has_terms:
                    raise DataError(f"{file}: none of the columns {', '.join(names)} contains vectors: expected dense")
                wanted = [name for name in (ids, dense, *(("terms", "weights") if has_terms else ())) if name]
                for batch in stored.iter_batches(ROWS, columns=wanted):
                    yield Vectors(
                        None if ids is None else [str(id_) for id_ in batch[ids].to_pylist()],
                        Representation(
                            None if dense is None else _embeddings(file, batch[dense].to_pylist()),
                            term_matrix(
                                str(file),
                                zip(batch["terms"].to_pylist(), batch["weights"].to_pylist(), strict=True),
                                term_numbers,
                                num_terms,
                            )
                            if has_terms
                            else None,
                        ),
                    )
        except (ArrowException, OSError) as error:
            raise DataError(f"{file}: it cannot be read: {error}") from error


def _embeddings(file: Path, rows: list[Any]) -> np.ndarray:
    try:
        array = np.array(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: the embeddings are not lists of numbers of the same length: {error}") from error
    if array.ndim != 2:
        raise DataError(f"{file}: the embeddings are not lists of numbers")
    return array


class _Writer:
    def __init__(self, folder: Path, layout: Layout) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        fields = [pa.field("id", pa.string())]
        if "dense" in layout.dims:
            fields.append(pa.field("dense", pa.list_(pa.float32(), layout.dims["dense"])))
        if "sparse" in layout.dims:
            fields += [pa.field("terms", pa.list_(pa.string())), pa.field("weights", pa.list_(pa.float32()))]
        self._schema, self._names = pa.schema(fields), layout.term_names
        self._writer = ParquetWriter(folder / ParquetVectors.file, self._schema)

    def add(self, ids: Sequence[str], vectors: Representation) -> None:
        import pyarrow as pa

        columns: dict[str, Any] = {"id": pa.array(ids, pa.string())}
        if vectors.dense is not None:
            kind = self._schema.field("dense").type
            columns["dense"] = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.dense.ravel(), pa.float32()), type=kind
            )
        if vectors.sparse is not None:
            terms, weights = zip(*rows_of_terms(vectors.sparse, self._names), strict=True)
            columns["terms"] = pa.array(terms, pa.list_(pa.string()))
            columns["weights"] = pa.array(weights, pa.list_(pa.float32()))
        self._writer.write_table(pa.table(columns, self._schema))

    def finish(self) -> None:
        self._writer.close()
