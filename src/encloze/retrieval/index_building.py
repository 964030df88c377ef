"""Building of index folders: the documents of a collection, their fields, and one or several indexes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.field_columns import write_field_columns
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.errors import RecipeError
from encloze.execution.encodings import SHARD_SIZE, encode_corpus
from encloze.retrieval.given_vectors import given_vectors
from encloze.retrieval.index_folder import write_description
from encloze.retrieval.index_state import DOCUMENTS, FIELDS
from encloze.search.indexes.base import Index, IndexBuilder
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.search.indexes.inverted import Inverted
from encloze.search.segment import Segment
from encloze.settings import plain
from encloze.storage.disk import explain_write_errors

MANY_DOCUMENTS = 200_000
"""Number of documents from which embeddings are searched approximately by default: an exact search takes 12 ms and more
(benchmarks/dense_search.py)."""
_SAMPLE_SIZE = 200  # documents from which defaults such as the analyzer of BM25 are chosen


def build_index(
    corpus: Corpus,
    indexes: Sequence[Index],
    encoder: Encoder | None,
    folder: Path,
    vectors: Path | None = None,
) -> list[dict[str, Any]]:
    """Write documents, their fields, indexes of them, and a description of the indexes into an existing empty folder.

    The indexes in the folder are called views. A view is, for example, ``flat`` over dense or ``inverted`` over sparse
    representations, or ``bm25`` over text.

    Args:
        corpus: The documents.
        indexes: The indexes to build; if empty, those of ``default_indexes``.
        encoder: Encoder of the documents; None if all indexes are built from text, for example BM25.
        folder: The folder to write into.
        vectors: File with the vectors of the documents (see ``given_vectors``); by default they are computed.

    Returns:
        The description of each view: its name, settings, model, fingerprint and number of dimensions.

    Raises:
        RecipeError: An index needs a representation (dense or sparse) that the encoder does not have, or ``indexes``
            is empty and ``encoder`` is None.
        StorageError: The disk is full.
    """
    named = named_indexes(tuple(indexes) or (default_indexes(encoder, len(corpus)) if encoder else ()), encoder)
    corpus.save(folder / DOCUMENTS)
    write_field_columns(corpus, folder / FIELDS)
    given = given_vectors(vectors, corpus, encoder, list(named.values())) if vectors and encoder else None
    views = describe_views(build_views(corpus, named, encoder, folder, given=given), encoder, folder)
    write_description(folder, len(corpus), views)
    return views


def named_indexes(indexes: Sequence[Index], encoder: Encoder | None) -> dict[str, Index]:
    """Return indexes by their names in an index folder. Raise RecipeError if the encoder does not fit one of them."""
    _check_indexes(indexes, encoder)
    names = [index.name for index in indexes]
    unique = [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]
    return dict(zip(unique, indexes, strict=True))


def describe_views(indexes: Mapping[str, Index], encoder: Encoder | None, folder: Path) -> list[dict[str, Any]]:
    """Return the descriptions of indexes in ``index.json``, from their names and settings."""
    return [
        {"name": name, "settings": plain(index), **_model_entry(encoder, index, folder)}
        for name, index in indexes.items()
    ]


def with_defaults(indexes: Mapping[str, Index], corpus: Corpus) -> dict[str, Index]:
    """Return the settings of indexes, completed by defaults that depend on a sample of the documents."""
    numbers = np.unique(np.linspace(0, len(corpus) - 1, _SAMPLE_SIZE).astype(np.int64))
    return {name: index.with_defaults(lambda: list(corpus.texts(numbers))) for name, index in indexes.items()}


class Merged(NamedTuple):
    """Documents that are indexed already, and are copied to a new segment with their representations."""

    segments: Mapping[str, Sequence[Segment]]
    """The segments of each index that contain them, by the name of the index."""
    added: Corpus | None
    """The documents that follow them in the new segment, which are encoded; None if there are none."""


def build_views(
    corpus: Corpus,
    indexes: Mapping[str, Index],
    encoder: Encoder | None,
    folder: Path,
    merged: Merged | None = None,
    given: Iterator[Representation] | None = None,
) -> dict[str, Index]:
    """Build each index in a subfolder of ``folder`` with the name of the index. Each document is encoded only once.

    Args:
        corpus: The documents.
        indexes: The indexes to build, by name.
        encoder: Encoder of the documents; None if all indexes are built from text.
        folder: The folder to write into.
        merged: Which documents at the beginning of ``corpus`` are not encoded, because they are indexed already.
        given: The vectors of the documents; by default they are computed.

    Returns:
        The settings of each index, completed by defaults that depend on the documents.
    """
    builders = dict[str, IndexBuilder]()
    indexes = with_defaults(indexes, corpus)
    with explain_write_errors(folder):
        for name, index in indexes.items():
            (folder / name).mkdir()
            builder = index.builder(folder / name)
            if index.input_type == "text":
                with progress.task("Counting words", len(corpus), "documents") as bar:
                    for begin in range(0, len(corpus), SHARD_SIZE):
                        texts = list(corpus.texts(range(begin, min(begin + SHARD_SIZE, len(corpus)))))
                        builder.add(texts)
                        bar.advance(len(texts))
                builder.finish()
            else:
                builders[name] = builder
        for name, builder in builders.items():
            for segment in merged.segments[name] if merged else ():
                for part in indexes[name].read(segment):
                    builder.add(part)
        encoded = merged.added if merged else corpus
        if builders and encoder and encoded:
            parts = given or encode_corpus(encoder, encoded)
            if merged and len(encoded) <= SHARD_SIZE:  # not worth a place in the cache
                parts = encoder.represent_documents(encoded.texts(), len(encoded))
            for part in parts:
                searched = encoder.similarity.for_inner_products(part)
                for builder in builders.values():
                    builder.add(searched)
        for builder in builders.values():
            builder.finish()
    return indexes


def default_indexes(encoder: Encoder, num_documents: int) -> tuple[Index, ...]:
    """Return an index for each representation of an encoder: exact ones, but ``hnsw`` for many embeddings."""
    if num_documents < MANY_DOCUMENTS:
        return exact_indexes(encoder)
    if "dense" in encoder.views:
        progress.note(
            f"{num_documents:,} documents: embeddings are searched approximately, with the index hnsw. For exact "
            "search, set indexes to flat"
        )
    return tuple(Hnsw() if index.input_type == "dense" else index for index in exact_indexes(encoder))


def exact_indexes(encoder: Encoder) -> tuple[Index, ...]:
    """Return an index with exact search for each representation of an encoder: flat for dense, inverted for sparse."""
    kinds = {"dense": Flat(), "sparse": Inverted()}
    return tuple(kinds[view] for view in encoder.views)


def _check_indexes(indexes: Sequence[Index], encoder: Encoder | None) -> None:
    if not indexes:
        raise RecipeError("the index", [("indexes", "nothing to build: name an encoder, or a text index such as bm25")])
    for index in indexes:
        if index.input_type != "text" and (encoder is None or index.input_type not in encoder.views):
            cause = f"{encoder.name} does not make" if encoder else "need an encoder: give a model"
            message = f"{index.name} is built from {index.input_type} representations, which {cause}"
            raise RecipeError("the index", [("indexes", message)])


def _model_entry(encoder: Encoder | None, index: Index, folder: Path) -> dict[str, Any]:
    """Return the fields of an index's description that identify its encoder.

    Both the absolute path of a model folder and its path relative to the index folder are saved, so that the two
    folders may be moved together.
    """
    if encoder is None or index.input_type == "text":
        return {"model": None, "fingerprint": None, "dim": None}
    entry = {"model": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.views[index.input_type]}
    if (path := Path(encoder.name)).exists():
        relative = os.path.relpath(path.resolve(), folder.resolve())
        entry |= {"model": str(path.resolve()), "relative_path": relative}
    return entry
