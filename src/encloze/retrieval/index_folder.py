"""Index folders: the documents of a collection, one or several indexes (views) of the documents, and index.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.field_columns import FieldColumns, SegmentedFields
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, EnclozeError, RecipeError, StaleIndexError
from encloze.family import nearest
from encloze.retrieval.index_state import DOCUMENTS, FIELDS, IndexState, num_live, read_state, segments_of
from encloze.search.engines.base import Engine
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import Index, IndexSearcher
from encloze.search.segment import Opened
from encloze.settings import plain
from encloze.storage.disk import size_of
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_inside, check_manifest
from encloze.storage.names import MANIFEST
from encloze.storage.output_lock import restore_interrupted
from encloze.storage.verified import file_states

_DESCRIPTION = "index.json"
_FORMAT_VERSION = 5
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
T = TypeVar("T")
_ATTEMPTS = 20


class StoredEngine(NamedTuple):
    """The search engine that contains the documents of an index folder."""

    engine: Engine
    """The engine, with the name of the collection."""
    build: str
    """Random text that the folder and its collection share, so that another collection is noticed."""


def write_description(
    folder: Path, documents: int, views: Sequence[Mapping[str, Any]], stored: StoredEngine | None = None
) -> None:
    """Write ``index.json`` of a new index folder.

    Args:
        folder: The folder.
        documents: Number of documents.
        views: The description of each index.
        stored: The engine with the documents; None if they are in the folder.
    """
    content = {"encloze": _FORMAT_VERSION, "documents": documents, "views": views}
    engine = {"engine": plain(stored.engine), "build": stored.build} if stored else {}
    write_json(folder / _DESCRIPTION, {**content, **engine})


def stored_engine(folder: Path) -> StoredEngine | None:
    """Return the search engine that contains the documents of an index folder; None if they are in the folder."""
    description = _read_description(folder)
    if "engine" not in description:
        return None
    if not isinstance(description.get("build"), str):
        raise _damaged(folder, "build is no text")
    source = str(folder / _DESCRIPTION)
    return StoredEngine(
        recipe.coerce(Engine, description["engine"], source=source, name="engine"), description["build"]
    )


def refuse_engine(folder: Path, verb: str) -> None:
    """Raise RecipeError if the documents of an index folder are in a search engine, where ``verb`` is impossible."""
    if stored := stored_engine(folder):
        message = f"{folder} is an index in {stored.engine.name}, for which there is no {verb}"
        raise RecipeError("the index", [("index", f"{message}. Use an index folder without an engine")])


def generation_of(folder: Path) -> int:
    """Return how often the model of an index was changed before this index was built (see ``reindexing``)."""
    generation = _read_description(folder).get("generation", 0)
    if not isinstance(generation, int):
        raise _damaged(folder, "generation is no number")
    return generation


def write_generation(folder: Path, generation: int) -> None:
    """Store how often the model was changed in a new index folder."""
    write_json(folder / _DESCRIPTION, {**read_json(folder / _DESCRIPTION), "generation": generation})


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
    """Return numbers that change if an index folder is changed or replaced; none if there is no index."""
    try:
        ((version,), _) = file_states([folder / MANIFEST])
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


def current_state(folder: Path) -> IndexState:
    """Return the current state of an index folder. Raises CheckpointError if it is damaged."""
    return read_state(folder, _read_description(folder)["documents"])


def read_consistently(folder: Path, read: Callable[[IndexState, tuple[int, ...]], T]) -> T:
    """Return the result of a function that opens files of an index folder, given its current state and version.

    Another process may change the index meanwhile, and remove files of the old state. Then the function is called again
    with the new state. Files that are open stay readable.
    """
    for attempt in range(_ATTEMPTS):
        version = index_version(folder)
        try:
            check_index(folder)
            return read(current_state(folder), version)
        except (EnclozeError, OSError):
            if attempt == _ATTEMPTS - 1 or version == index_version(folder):
                raise
    raise AssertionError  # the last attempt returns or raises


def open_view(
    folder: Path, entry: Mapping[str, Any], state: IndexState | None = None, opened: Opened | None = None
) -> IndexSearcher:
    """Return a searcher over one index of an index folder.

    Args:
        folder: The index folder.
        entry: The description of the index.
        state: The state of the folder; by default the current one.
        opened: What was opened of this index before (see ``Index.open_segments``).

    Raises:
        CheckpointError: A file is damaged, or does not fit the other files of the folder.
    """
    state, index = state or current_state(folder), index_settings(folder, entry)
    if (entry["model"] is None) != (index.input_type == "text"):
        raise _damaged(folder, f"the index {entry['name']} needs {'no' * (index.input_type == 'text')} model")
    segments = segments_of(folder, state, entry["name"])
    try:
        searcher = index.open_segments(segments, opened)
    except ValueError as error:  # such as an analyzer that has not built the index
        raise _damaged(folder, f"{entry['name']}: {error}") from error
    expected = num_live(state, segments), entry["dim"]
    if (found := (searcher.num_documents, searcher.dim)) != expected:
        message = "{} documents of {} dimensions"
        raise _damaged(folder, f"{entry['name']} has {message.format(*found)}, not {message.format(*expected)}")
    return searcher


def index_settings(folder: Path, entry: Mapping[str, Any]) -> Index:
    """Return the settings of an index, from its description."""
    index: Index = recipe.coerce(Index, entry["settings"], source=str(folder / _DESCRIPTION), name=entry["name"])
    return index


def view_bytes(folder: Path, name: str) -> int | None:
    """Return the size of an index in an index folder, in bytes; None if it is in a search engine."""
    if stored_engine(folder):
        return None
    return sum(size_of(folder / segment.path / name) for segment in current_state(folder).segments)


def open_documents(folder: Path, state: IndexState | None = None) -> Corpus:
    """Return the documents of an index folder in a state, by default the current one.

    Raises:
        CheckpointError: A file is damaged, or has another number of documents than the state.
    """
    state = state or current_state(folder)
    segments = segments_of(folder, state)
    parts = [Corpus(segment.folder / DOCUMENTS) for segment in segments]
    for part, stored in zip(parts, state.segments, strict=True):
        if len(part) != stored.documents:
            raise _damaged(folder, f"{DOCUMENTS} has {len(part)} documents, not {stored.documents}")
    return Corpus.joined(parts, [segment.live for segment in segments])


def open_fields(folder: Path, state: IndexState) -> SegmentedFields:
    """Return the fields of the documents of an index folder, for filters.

    Raises:
        CheckpointError: A file is damaged, or has another number of documents than the state.
    """
    segments = segments_of(folder, state)
    columns = [FieldColumns(segment.folder / FIELDS) for segment in segments]
    for part, stored in zip(columns, state.segments, strict=True):
        if part.num_documents != stored.documents:
            raise _damaged(folder, f"{FIELDS} has {part.num_documents} documents, not {stored.documents}")
    return SegmentedFields(columns, [segment.live for segment in segments])


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
