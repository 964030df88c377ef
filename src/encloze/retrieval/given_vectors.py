"""Vectors of documents that were computed before, by this or another program, checked while they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from encloze.data.corpus import Corpus
from encloze.data.records import Representation
from encloze.data.vectors.base import ORIGIN_FILE, VectorFormat
from encloze.encoders.base import Encoder
from encloze.errors import DataError
from encloze.search.indexes.base import Index
from encloze.storage.integrity import check_if_result
from encloze.storage.json_files import read_json


def given_vectors(path: Path, corpus: Corpus, encoder: Encoder, indexes: Sequence[Index]) -> Iterator[Representation]:
    """Yield the vectors of the documents of a corpus that are in a file.

    Args:
        path: The file, or a folder that ``encloze encode`` wrote.
        corpus: The documents. If the file has ids, they must be the same in the same order.
        encoder: The model that computed the vectors, and will encode the queries.
        indexes: The indexes that are built from the vectors.

    Raises:
        DataError: The vectors are not those of these documents or of the model, do not fit the indexes, or are damaged.
        CheckpointError: A file in a folder that ``encloze encode`` wrote is missing or has changed.
    """
    check_if_result(path)
    format_, file = VectorFormat.recognize(path)
    if path.is_dir() and (path / ORIGIN_FILE).is_file():
        origin = read_json(path / ORIGIN_FILE)
        if origin.get("fingerprint") != encoder.fingerprint:
            raise DataError(
                f"{path} was computed by {origin.get('model')}, and the model is {encoder.name}. Give the same"
            )
    needed = {index.input_type for index in indexes} - {"text"}
    num_terms, numbers = encoder.views.get("sparse", 0), dict[str, int]()
    if num_terms:
        numbers = {name: number for number, name in enumerate(encoder.term_names(range(num_terms)))}
    done = 0
    for ids, vectors in format_.read(file, numbers, num_terms):
        for kind in sorted(needed):
            _check(file, done, kind, getattr(vectors, kind), encoder)
        if done + vectors.num_texts > len(corpus):
            raise DataError(f"{file} has more vectors than the {len(corpus):,} documents")
        if ids is not None:
            _check_ids(file, done, ids, corpus)
        done += vectors.num_texts
        yield vectors.only(needed)
    if done < len(corpus):
        raise DataError(f"{file} has {done:,} vectors, and the collection {len(corpus):,} documents")


def _check(file: Path, done: int, kind: str, vectors: object, encoder: Encoder) -> None:
    if vectors is None:
        name = {"dense": "embeddings", "sparse": "term weights"}[kind]
        raise DataError(f"{file} has no {name}. Choose indexes that need none")
    matrix: np.ndarray = vectors  # type: ignore[assignment]  # or a sparse matrix, which has these attributes, too
    if matrix.shape[1] != encoder.views[kind]:
        raise DataError(
            f"{file}: the vectors have {matrix.shape[1]:,} dimensions, and {encoder.name} computes "
            f"{encoder.views[kind]:,}. Give the model that computed them"
        )
    values = matrix if kind == "dense" else matrix.data
    if not np.isfinite(values).all():
        raise DataError(f"{file}: a vector among the rows {done:,} to {done + matrix.shape[0] - 1:,} is not finite")


def _check_ids(file: Path, done: int, ids: Sequence[str], corpus: Corpus) -> None:
    expected = corpus.ids.take(np.arange(done, done + len(ids)))
    for row, (id_, document) in enumerate(zip(ids, expected, strict=True), done):
        if id_ != document:
            raise DataError(
                f"{file}: row {row:,} is of the document {id_}, and document {row:,} of the collection is {document}. "
                "The vectors must be in the order of the documents"
            )
