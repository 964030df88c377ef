"""Index folders: the documents of a collection, one or several indexes (views) of the documents, and index.json."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.execution.encodings import CorpusJob, encode_corpus
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.family import nearest
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import Index, IndexBuilder, IndexSearcher
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.settings import plain
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_inside, check_manifest
from encloze.storage.output_lock import restore_interrupted
from encloze.storage.verified import file_states

DOCUMENTS = "documents.arrow"
_DESCRIPTION = "index.json"
_FORMAT_VERSION = 4
_VIEW_NAME = re.compile(r"[a-z][a-z0-9_]*(-[0-9]+)?")
_VIEW_TYPES = {
    "name": ("str",),
    "settings": ("dict",),
    "model": ("str", "NoneType"),
    "fingerprint": ("str", "NoneType"),
    "dim": ("int", "NoneType"),
    "relative_path": ("str", "NoneType"),
}
"""Types of the fields that describe an index."""
_SAMPLE_SIZE = 200  # documents from which defaults such as the analyzer of BM25 are chosen


def build_index(
    corpus: Corpus, indexes: Sequence[Index], encoder: Encoder | None, folder: Path, executor: Executor | None = None
) -> list[dict[str, Any]]:
    """Write documents, indexes of the documents, and a description of the indexes into an existing empty folder.

    The indexes in the folder are called views. A view is, for example, ``flat`` over dense or ``inverted`` over sparse
    representations, or ``bm25`` over text.

    Args:
        corpus: The documents.
        indexes: The indexes to build; if empty, an exact index of each representation (dense, sparse) of the encoder.
        encoder: Encoder of the documents; None if all indexes are built from text, for example BM25.
        folder: The folder to write into.
        executor: Where the documents are encoded, for example on several GPUs; by default in this process.

    Returns:
        The description of each view: its name, settings, model, fingerprint and number of dimensions.

    Raises:
        RecipeError: An index needs a representation (dense or sparse) that the encoder does not have, or ``indexes``
            is empty and ``encoder`` is None.
        StorageError: The disk is full.
    """
    indexes = tuple(indexes) or (exact_indexes(encoder) if encoder else ())
    _check_indexes(indexes, encoder)
    shutil.copyfile(corpus.file, folder / DOCUMENTS)
    names = [index.name for index in indexes]
    unique = [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]
    built = build_views(corpus, dict(zip(unique, indexes, strict=True)), encoder, folder, executor)
    views = [
        {"name": name, "settings": plain(index), **_model_entry(encoder, index, folder)}
        for name, index in built.items()
    ]
    write_json(folder / _DESCRIPTION, {"encloze": _FORMAT_VERSION, "documents": len(corpus), "views": views})
    return views


def build_views(
    corpus: Corpus,
    indexes: Mapping[str, Index],
    encoder: Encoder | None,
    folder: Path,
    executor: Executor | None = None,
) -> dict[str, Index]:
    """Build each index in a subfolder of ``folder`` with the name of the index. Each document is encoded only once.

    Returns:
        The settings of each index, completed by defaults that depend on the documents.
    """
    executor, builders = executor or Local(), dict[str, list[IndexBuilder]]()
    numbers = np.unique(np.linspace(0, len(corpus) - 1, _SAMPLE_SIZE).astype(np.int64))
    indexes = {name: index.with_defaults(lambda: list(corpus.texts(numbers))) for name, index in indexes.items()}
    with explain_write_errors(folder):
        for name, index in indexes.items():
            (folder / name).mkdir()
            builders.setdefault(index.input_type, []).append(index.builder(folder / name))
        for builder in builders.pop("text", []):
            for texts in executor.run(CorpusJob(corpus)):
                builder.add(texts)
            builder.finish()
        of_representations = [builder for some in builders.values() for builder in some]
        if of_representations and encoder:
            for part in encode_corpus(encoder, corpus, executor):
                searched = encoder.similarity.for_inner_products(part)
                for builder in of_representations:
                    builder.add(searched)
            for builder in of_representations:
                builder.finish()
    return indexes


def exact_indexes(encoder: Encoder) -> tuple[Index, ...]:
    """Return an index with exact search for each representation of an encoder: flat for dense, inverted for sparse."""
    kinds = {"dense": Flat(), "sparse": Inverted()}
    return tuple(kinds[view] for view in encoder.views)


def check_index(folder: Path) -> None:
    """Raise CheckpointError if a folder is not an index folder or is damaged, StaleIndexError if it is out of date."""
    if not is_index(folder):
        raise CheckpointError(
            f"{folder} is not an index: it has no {_DESCRIPTION}. Build one: encloze index --output {folder} ..."
        )
    description = read_json(folder / _DESCRIPTION)
    if isinstance(description, dict) and description.get("encloze") in range(1, _FORMAT_VERSION):
        raise _of_other_version(folder)  # whose manifest may have another format, too
    check_manifest(folder)


def is_index(path: Path) -> bool:
    """Return whether a folder is an index folder, even if it is damaged."""
    restore_interrupted(path)
    return (path / _DESCRIPTION).is_file()


def index_version(folder: Path) -> tuple[int, ...]:
    """Return numbers that change if an index folder is replaced; none if there is no index."""
    try:
        ((version,), _) = file_states([folder / _DESCRIPTION])
    except OSError:
        return ()
    return version


def view_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the indexes in an index folder, such as ``flat`` and ``bm25``."""
    return tuple(entry["name"] for entry in _read_description(folder)["views"])


def view_entries(folder: Path, views: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the descriptions of all indexes in an index folder, or only of those named in ``views``.

    Raises:
        CheckpointError: The folder is not an index folder, is damaged, or has no index with one of the names.
        StaleIndexError: The folder was written by a version of encloze with another index format.
    """
    check_index(folder)
    entries: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in _read_description(folder)["views"]}
    if missing := [name for name in views if name not in entries]:
        raise CheckpointError(f"the index {folder} has no index {missing[0]!r}; {nearest(missing[0], list(entries))}")
    return [entries[name] for name in views or entries]


class StoredFusion(NamedTuple):
    """The fusion that an index folder stores for its searches."""

    fusion: Fusion | None
    """None if the folder stores no fusion, or if only some of its indexes are searched."""
    note: str = ""
    """How the fusion was chosen, for reports; empty if there is nothing to report."""
    split: str = ""
    """Split on which the weights of the fusion were tuned; empty if they were not tuned."""
    dataset: str = ""
    """Path or name of the data set of this split; empty if the weights were not tuned."""


def write_fusion(folder: Path, fusion: Fusion, note: str, tuned_on: Mapping[str, str]) -> None:
    """Store the fusion with which an index folder is searched by default, and how it was chosen.

    Args:
        folder: The index folder.
        fusion: The fusion.
        note: How it was chosen, for reports.
        tuned_on: The split on which the weights were tuned (``split``), and its data set (``dataset``). Both are empty
            strings if the weights were not tuned.
    """
    stored = {"fusion": plain(fusion), "fusion_note": note, "fusion_tuned_on": dict(tuned_on)}
    write_json(folder / _DESCRIPTION, {**read_json(folder / _DESCRIPTION), **stored})


def stored_fusion(folder: Path, views: Sequence[str] = ()) -> StoredFusion:
    """Return the fusion of an index folder, with its weights in the order of the searched views.

    Args:
        folder: The index folder.
        views: Names of the searched views; all by default. If some are left out, the returned fusion is None.
    """
    description, names = _read_description(folder), view_names(folder)
    views = views or names
    if "fusion" not in description or sorted(views) != sorted(names):
        return StoredFusion(None)
    fusion: Fusion = recipe.coerce(Fusion, description["fusion"], source=str(folder / _DESCRIPTION), name="fusion")
    if isinstance(fusion, Weighted) and fusion.weights:
        if len(fusion.weights) != len(names):
            raise _damaged(folder, f"{len(fusion.weights)} weights for {len(names)} indexes")
        of_view = dict(zip(names, fusion.weights, strict=True))
        fusion = replace(fusion, weights=tuple(of_view[view] for view in views))
    return StoredFusion(fusion, description["fusion_note"], **description["fusion_tuned_on"])


def open_view(folder: Path, entry: Mapping[str, Any]) -> IndexSearcher:
    """Return a searcher over one index of an index folder; ``entry`` is the description of the index.

    Raises:
        CheckpointError: A file is damaged, or does not fit the other files of the folder.
    """
    index: Index = recipe.coerce(Index, entry["settings"], source=str(folder / _DESCRIPTION), name=entry["name"])
    if (entry["model"] is None) != (index.input_type == "text"):
        raise _damaged(folder, f"the index {entry['name']} needs {'no' * (index.input_type == 'text')} model")
    try:
        searcher = index.open(folder / entry["name"])
    except ValueError as error:  # such as an analyzer that has not built the index
        raise _damaged(folder, f"{entry['name']}: {error}") from error
    expected = _read_description(folder)["documents"], entry["dim"]
    if (found := (searcher.num_documents, searcher.dim)) != expected:
        message = "{} documents of {} dimensions"
        raise _damaged(folder, f"{entry['name']} has {message.format(*found)}, not {message.format(*expected)}")
    return searcher


def open_documents(folder: Path) -> Corpus:
    """Return the documents of an index folder. Raises CheckpointError if their number differs from the description."""
    corpus, expected = Corpus(folder / DOCUMENTS), _read_description(folder)["documents"]
    if len(corpus) != expected:
        raise _damaged(folder, f"{DOCUMENTS} has {len(corpus)} documents, not {expected}")
    return corpus


def model_location(folder: Path, entry: Mapping[str, Any]) -> str:
    """Return the path of the model that built an index.

    It is the stored absolute path or, if that does not exist, the stored path relative to the index folder."""
    name, relative = str(entry["model"]), entry.get("relative_path")
    is_moved = relative is not None and not Path(name).exists() and (folder / relative).exists()
    return str((folder / relative).resolve()) if is_moved and relative else name


def check_model(folder: Path, entry: Mapping[str, Any], encoder: Encoder) -> None:
    """Raise StaleIndexError if the index that ``entry`` describes was not built by ``encoder``."""
    dim = encoder.views.get(Index.member(entry["settings"]["type"]).input_type)
    if encoder.fingerprint != entry["fingerprint"] or dim != entry["dim"]:
        dims = " and ".join(map(str, encoder.views.values()))
        raise StaleIndexError(
            f"the index {folder} was built by another model: {entry['model']} (fingerprint {entry['fingerprint']}, "
            f"{entry['dim']} dimensions); {encoder.name} has the fingerprint {encoder.fingerprint} and {dims} "
            f"dimensions. Build the index again: encloze index --model {encoder.name} --output NEW_FOLDER ..."
        )


def _read_description(folder: Path) -> dict[str, Any]:
    """Return the content of ``index.json``.

    Raises:
        CheckpointError: It is missing or damaged, or the name of an index leads out of the folder.
        StaleIndexError: It was written by a version of encloze with another index format.
    """
    description = read_json(folder / _DESCRIPTION)
    if not isinstance(description, dict) or not isinstance(description.get("encloze"), int):
        raise _damaged(folder, "it does not describe an index")
    if description["encloze"] != _FORMAT_VERSION:
        raise _of_other_version(folder)
    views = description.get("views")
    if not isinstance(views, list) or not views or not isinstance(description.get("documents"), int):
        raise _damaged(folder, "it has no list of indexes, or no number of documents")
    for view in views:
        types = {name: type(view.get(name)).__name__ for name in _VIEW_TYPES} if isinstance(view, dict) else {}
        if wrong := [name for name, allowed in _VIEW_TYPES.items() if types.get(name) not in allowed]:
            raise _damaged(folder, f"{wrong[0]} of an index is missing or has a wrong type")
        if not _VIEW_NAME.fullmatch(view["name"]):
            raise _damaged(folder, f"{view['name']!r} is no name of an index")
        check_inside(folder, view["name"])
    if len({view["name"] for view in views}) < len(views):
        raise _damaged(folder, "two indexes have the same name")
    tuned_on = description.get("fusion_tuned_on", {"split": "", "dataset": ""})
    texts = [*tuned_on.values(), description.get("fusion_note", "")] if isinstance(tuned_on, dict) else [None]
    if not all(isinstance(text, str) for text in texts) or set(tuned_on) - {"split", "dataset"}:
        raise _damaged(folder, "the note on the fusion is not text")
    return description


def _of_other_version(folder: Path) -> StaleIndexError:
    return StaleIndexError(f"the index {folder} was built by another version of encloze. Build it again")


def _damaged(folder: Path, fault: str) -> CheckpointError:
    return CheckpointError(f"{folder / _DESCRIPTION} is damaged: {fault}. Build the index again, or restore the file")


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
