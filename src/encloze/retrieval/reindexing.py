"""Change of the model of an index: a second index with the new model is built beside it, and takes its place at once.

The second index is the folder ``NAME.next``. When it takes the place of the index, the old one becomes
``NAME.previous``, which can come back in the same way. Before either change, documents that were added, replaced or
deleted meanwhile are changed in the other index, too. Each index stores its generation, so that a cut-over that was
interrupted between its two renames is completed, and not undone, when it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze import progress, recipe
from encloze.data.corpus import Corpus
from encloze.data.corpus_files import write_documents
from encloze.data.dataset import DatasetSplit
from encloze.data.fields import write_fields
from encloze.data.records import Document, Run
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, RecipeError
from encloze.retrieval.changes import add_documents, delete_documents
from encloze.retrieval.index_building import build_index
from encloze.retrieval.index_folder import (
    current_state,
    generation_of,
    index_settings,
    open_documents,
    refuse_engine,
    stored_fusion,
    view_entries,
    write_generation,
)
from encloze.retrieval.tuning import fit_index_fusion, opened_views
from encloze.storage.atomic import atomic_folder
from encloze.storage.cache import temporary_folder
from encloze.storage.exchange import exchange
from encloze.storage.hashes import checksum_of
from encloze.storage.output_lock import lock_output
from encloze.storage.provenance import write_provenance

TOP = 10


def beside(index: Path, role: str) -> Path:
    """Return the path of the other index: ``role`` is ``next`` or ``previous``."""
    index = index.resolve()  # it may be a symbolic link
    return index.with_name(f"{index.name}.{role}")


def build_next(index: Path, encoder: Encoder, dataset: DatasetSplit | None, *, overwrite: bool) -> Path:
    """Build an index of the same documents with another model, in the folder ``NAME.next``. Return its path.

    It has the same indexes as the old one, and the same fusion, unless the weights were tuned: they are tuned again. An
    interrupted build continues with the encodings in the cache.

    Args:
        index: The index folder.
        encoder: The new model.
        dataset: Data set whose split dev or validation the weights of several indexes are tuned on.
        overwrite: Whether ``NAME.next`` may be replaced.

    Raises:
        RecipeError: No index is built by a model, or the new one does not compute what an index is built from.
        StorageError: ``NAME.next`` exists, or the disk is full.
    """
    refuse_engine(index, "reindex")
    target, entries, stored = beside(index, "next"), view_entries(index), stored_fusion(index)
    if not any(entry["model"] for entry in entries):
        message = f"no index in {index} was built by a model: {', '.join(entry['name'] for entry in entries)}"
        raise RecipeError("the index", [("index", message)])
    if stored.split and dataset is None:
        progress.warn(
            f"the fusion weights of {index} were tuned on {stored.split}. Give the data set, so that those of the new "
            "index are tuned, too"
        )
    corpus = open_documents(index)
    with atomic_folder(target, overwrite=overwrite) as staging:
        views = build_index(corpus, [index_settings(index, entry) for entry in entries], encoder, staging)
        opened = opened_views(staging, views, encoder)
        fit_index_fusion(staging, opened, corpus, None if stored.split else stored.fusion, dataset)
        write_generation(staging, generation_of(index) + 1)
        settings = {"verb": "reindex", "index": str(index), "model": encoder.name}
        write_provenance(staging, recipe.dump_tree(settings), {"index": index, "model": encoder.name})
    return target


def catch_up(source: Path, target: Path, find_encoder: Callable[[], Encoder | None]) -> int:
    """Give an index the documents of another one. Only documents that differ are encoded.

    Args:
        source: The index that has the right documents.
        target: The index that is changed.
        find_encoder: Function that loads the model that built ``target``, if documents must be encoded.

    Returns:
        Number of documents that differed.
    """
    old, new = open_documents(target), open_documents(source)
    before, after = dict(_contents(old)), dict(_contents(new))
    changed = [number for number, (id_, content) in enumerate(after.items()) if before.get(id_) != content]
    removed = sorted(before.keys() - after.keys())
    if removed:
        delete_documents(target, removed)
    if changed:
        with temporary_folder() as folder:
            write_documents((new[number] for number in changed), folder / "changed.arrow")
            add_documents(target, Corpus(folder / "changed.arrow"), find_encoder(), "id")
    return len(removed) + len(changed)


def cut_over(index: Path, role: str, find_encoder: Callable[[], Encoder | None]) -> int:
    """Let the index ``NAME.next`` or ``NAME.previous`` take the place of an index, after it has caught up.

    The index becomes ``NAME.previous`` or ``NAME.next``. Meanwhile, no other process can change it. Processes that have
    opened it keep searching it until they open it again.

    Args:
        index: The index folder.
        role: ``next`` or ``previous``.
        find_encoder: Function that loads the model of the index that takes over, if it has to catch up.

    Returns:
        Number of documents that were changed in the index that takes over.

    Raises:
        CheckpointError: There is no such index.
        StorageError: Another process is changing one of the indexes, or a third one is in the way.
    """
    index, other, free = index.resolve(), beside(index, role), beside(index, "previous" if role == "next" else "next")
    with lock_output(index), lock_output(other):
        if not other.is_dir():
            remedy = (
                f"Build it: encloze reindex --index {index} --model MODEL" if role == "next" else "Nothing was changed"
            )
            raise CheckpointError(f"there is no index {other}. {remedy}")
        if free.exists():
            raise CheckpointError(f"{free} is in the way: it was left by an earlier change of the model. Remove it")
        if current_state(index).answer_threshold and not current_state(other).answer_threshold:
            progress.warn(
                f"the answer threshold of {index} belongs to its model, and {other} has none. Choose another one: "
                f"encloze threshold --index {index}"
            )
        num_changed, step = 0, generation_of(other) - generation_of(index)
        if (step > 0) == (role == "next"):  # otherwise a process was killed after it had exchanged them
            num_changed = catch_up(index, other, find_encoder)
            exchange(index, other)
        other.rename(free)
    return num_changed


class Agreement(NamedTuple):
    """Agreement between the rankings of two indexes."""

    queries: int
    """Number of queries."""
    overlap: float
    """Mean share of the ten best documents of one ranking that are among the ten best of the other."""
    same_first: float
    """Share of the queries with the same best document."""


def agreement_of(first: Run, second: Run) -> Agreement:
    """Return the agreement between two rankings of the same queries.

    Example:
        >>> agreement_of({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 5.0, "c": 1.0}})
        Agreement(queries=1, overlap=0.5, same_first=1.0)
    """
    overlaps, same = list[float](), list[bool]()
    for query, scores in first.items():
        one, two = (_best(ranking) for ranking in (scores, second.get(query, {})))
        overlaps.append(len(set(one) & set(two)) / max(1, len(one), len(two)))
        same.append(one[:1] == two[:1])
    return Agreement(len(first), float(np.mean(overlaps)), float(np.mean(same)))


def _best(scores: Mapping[str, float]) -> Sequence[str]:
    return sorted(scores, key=lambda id_: (-scores[id_], id_))[:TOP]


def _contents(corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Yield the id of each document, and a checksum of everything else."""
    for document in corpus:
        yield document.id, checksum_of(repr(_values(document)))


def _values(document: Document) -> tuple[object, ...]:
    return (*document[1:-1], write_fields(document.fields))
