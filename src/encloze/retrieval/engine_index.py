"""Index folders whose documents and vectors are in a search engine: opening, and the state that the folder stores."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, StaleIndexError
from encloze.retrieval.engine_documents import EngineDocuments, EngineFields
from encloze.retrieval.index_folder import StoredEngine, index_settings, view_entries
from encloze.retrieval.views import View
from encloze.search.bm25_statistics import Bm25Statistics
from encloze.search.engine_search import EngineBm25Searcher, EngineSearcher
from encloze.search.engines.base import EngineCollection, EngineView
from encloze.search.indexes.bm25 import Bm25
from encloze.storage.disk import remove
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import read_manifest, replace_entries

_STATE = re.compile(r"engine-([0-9]{1,18})\.json")


class EngineState(NamedTuple):
    """What an index folder stores of a collection that changes with its documents."""

    number: int
    """Number of the state: 0 for a new index, and one more after each change."""
    fields: frozenset[str]
    """Names of the fields of the documents."""
    statistics: dict[str, Bm25Statistics]
    """The statistics of each BM25 index, by its name."""


class EngineContents(NamedTuple):
    """An opened index whose documents are in an engine."""

    documents: EngineDocuments
    views: list[View]
    fields: EngineFields


def engine_views(folder: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, EngineView]:
    """Return the indexes of a collection, by name, from their descriptions."""
    views = {}
    for entry in entries:
        index = index_settings(folder, entry)
        views[entry["name"]] = EngineView(entry["name"], index, entry["dim"] if index.input_type == "dense" else None)
    return views


def collection_description(stored: StoredEngine, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that identifies a collection in the engine: of which folder, and by which models it is."""
    models = ",".join(f"{entry['name']}:{entry['fingerprint'] or 'text'}" for entry in entries)
    return f"encloze 1 {stored.build} {models}"


def connect(folder: Path, stored: StoredEngine, entries: Sequence[Mapping[str, Any]]) -> EngineCollection:
    """Connect to the collection of an index folder.

    Raises:
        StaleIndexError: The collection does not exist, or belongs to another index.
        EndpointError: The engine cannot be reached, or rejects the credentials.
    """
    collection = stored.engine.connect(folder)
    found = collection.description()
    if found == collection_description(stored, entries):
        return collection
    collection.close()
    name, where = stored.engine.collection, f"{stored.engine.name} {stored.engine.uri}".rstrip()
    cause = "was deleted there" if found is None else "is of another index, or was built by another model"
    raise StaleIndexError(
        f"{folder} needs the collection {name} in {where}, which {cause}. Build the index again: encloze index "
        f"--engine {stored.engine.name} --output {folder} --overwrite ..."
    )


def open_engine_index(
    folder: Path,
    stored: StoredEngine,
    names: Sequence[str],
    encoder_of: Callable[[Mapping[str, Any]], Encoder | None],
) -> EngineContents:
    """Open an index folder whose documents are in an engine.

    Args:
        folder: The index folder.
        stored: The engine that it stores.
        names: Names of the indexes to search; all if empty.
        encoder_of: Function that returns the encoder of an index.
    """
    entries = view_entries(folder)
    views, state = engine_views(folder, entries), read_engine_state(folder, entries)
    collection = connect(folder, stored, entries)
    opened = []
    for entry in view_entries(folder, names):
        searcher = open_searcher(collection, views[entry["name"]], entry, state)
        opened.append(View(entry["name"], searcher, encoder_of(entry)))
    return EngineContents(EngineDocuments(collection), opened, EngineFields(collection, state.fields))


def open_searcher(
    collection: EngineCollection, view: EngineView, entry: Mapping[str, Any], state: EngineState
) -> EngineSearcher | EngineBm25Searcher:
    """Return the searcher of an index in a collection."""
    if view.name in state.statistics:
        return EngineBm25Searcher(collection, view, state.statistics[view.name])
    return EngineSearcher(collection, view, entry["dim"])


def read_engine_state(folder: Path, entries: Sequence[Mapping[str, Any]]) -> EngineState:
    """Return the current state of an index folder. Raises CheckpointError if it is damaged."""
    numbers = [int(found[1]) for name in read_manifest(folder) if (found := _STATE.fullmatch(name))]
    if not numbers:
        raise CheckpointError(f"{folder} is damaged: it has no state of its search engine. Build the index again")
    number, statistics = max(numbers), {}
    fields = read_json(folder / f"engine-{number}.json").get("fields")
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise CheckpointError(f"{folder / f'engine-{number}.json'} is damaged: it has no list of fields")
    for entry in entries:
        settings = index_settings(folder, entry)
        if isinstance(settings, Bm25):
            statistics[entry["name"]] = Bm25Statistics.load(settings, _statistics_file(folder, entry["name"], number))
    return EngineState(number, frozenset(fields), statistics)


def write_engine_state(folder: Path, state: EngineState) -> list[Path]:
    """Write the files of a state into an index folder. Return their paths."""
    files = [folder / f"engine-{state.number}.json"]
    write_json(files[0], {"fields": sorted(state.fields)})
    for name, statistics in state.statistics.items():
        files.append(_statistics_file(folder, name, state.number))
        statistics.save(files[-1])
    return files


def commit_engine_state(folder: Path, state: EngineState) -> None:
    """Make a state the current one, by replacing the manifest, and remove the files of the earlier state."""
    added, before = write_engine_state(folder, state), read_manifest(folder)
    old = {name for name in before if re.fullmatch(r".+-[0-9]+\.json", name)}
    replace_entries(folder, before.keys() - old, added)
    for name in old - {file.name for file in added}:
        remove(folder / name)


def _statistics_file(folder: Path, view: str, number: int) -> Path:
    return folder / f"statistics-{view}-{number}.json"
