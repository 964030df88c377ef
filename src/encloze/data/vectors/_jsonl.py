"""JSON lines with an id and a vector: a list of numbers, or an object of terms and their weights."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encloze.data.lines import read_lines
from encloze.data.records import Representation
from encloze.data.vectors._terms import term_matrix
from encloze.data.vectors.base import ROWS, Vectors
from encloze.errors import DataError


class JsonlWriter:
    """Writer of JSON lines."""

    def __init__(self, file: Path, text_field: str) -> None:
        """Create the file. ``text_field`` is the name of the field for the text, which stays empty."""
        self._file, self._text_field = file, text_field
        file.touch()

    def write(self, ids: Sequence[str], vectors: Iterator[Any]) -> None:
        """Append one line for each text."""
        with self._file.open("a", encoding="utf-8") as stream:
            for id_, vector in zip(ids, vectors, strict=True):
                row = {"id": id_, self._text_field: "", "vector": vector}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Do nothing: every batch has been written."""


def read_jsonl(file: Path, term_numbers: dict[str, int], num_terms: int) -> Iterator[Vectors]:
    """Yield the vectors in a file of JSON lines (see ``VectorFormat.read``)."""
    lines = iter(read_lines(file))
    while batch := list(itertools.islice(lines, ROWS)):
        ids, vectors = list[str](), list[Any]()
        for location, line in batch:
            id_, vector = _parse(location, line)
            ids.append(id_)
            vectors.append(vector)
        where = f"{batch[0][0]} to {batch[-1][0]}"
        if all(isinstance(vector, dict) for vector in vectors):
            rows = (([*vector], [*vector.values()]) for vector in vectors)
            yield Vectors(ids, Representation(sparse=term_matrix(where, rows, term_numbers, num_terms)))
            continue
        try:
            array = np.array(vectors, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: the vectors are not lists of numbers of the same length: {error}") from error
        yield Vectors(ids, Representation(dense=array.reshape(len(ids), -1)))


def _parse(location: str, line: str) -> tuple[str, Any]:
    try:
        row = json.loads(line)
        return str(row["id"]), row["vector"]
    except (ValueError, TypeError, KeyError) as error:
        message = "expected a JSON object with id and vector"
        raise DataError(f"{location}: {message}, found {line[:80]!r}") from error
