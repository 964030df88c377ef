"""Index folders: written from a corpus, checked, and described by a card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.execution.encodings import documents_in_parts
from encloze.search.indexes.base import Builder, Index
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.settings import plain
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_manifest

CARD = "index.json"
FORM = 2  # of the files of an index; 1 was FAISS's and bm25s's own
DOCUMENTS = "documents.arrow"


def build_index(
    corpus: Corpus, indexes: Sequence[Index], encoder: Encoder | None, folder: Path
) -> list[dict[str, Any]]:
    """Write an index folder: the documents, and a view of them for each kind of index. Returns what it says of them."""
    for index in indexes:
        if index.reads != "text" and (encoder is None or index.reads not in encoder.views):
            whose = f"and {encoder.name} makes none" if encoder else "which an encoder makes: give a model"
            raise RecipeError("the recipe", [("indexes", f"{index.name} is built from {index.reads} views, {whose}")])
    shutil.copyfile(corpus.file, folder / DOCUMENTS)
    names = [index.name for index in indexes]
    unique = [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]
    build_views(corpus, dict(zip(unique, indexes, strict=True)), encoder, folder)
    views = [
        {"name": name, "settings": plain(index), **_model_of(encoder if index.reads != "text" else None, index, folder)}
        for name, index in zip(unique, indexes, strict=True)
    ]
    write_json(folder / CARD, {"encloze": FORM, "documents": len(corpus), "views": views})
    return views


def build_views(corpus: Corpus, indexes: Mapping[str, Index], encoder: Encoder | None, folder: Path) -> None:
    """Write an index of each name into ``folder``; every document is read, and encoded, once for all of them."""
    with explain_write_errors(folder):
        _build_views(corpus, indexes, encoder, folder)


def _build_views(corpus: Corpus, indexes: Mapping[str, Index], encoder: Encoder | None, folder: Path) -> None:
    builders = {index.reads: list[Builder]() for index in indexes.values()}
    for name, index in indexes.items():
        (folder / name).mkdir()
        builders[index.reads].append(index.builder(folder / name))
    for of_text in builders.pop("text", []):
        of_text.add(progress.track(corpus.texts(), "Counting words", len(corpus), "documents"))
        of_text.finish()
    of_views = [builder for some in builders.values() for builder in some]
    if not of_views or encoder is None:
        return
    for part in documents_in_parts(encoder, corpus):
        for builder in of_views:
            builder.add(part)
    for builder in of_views:
        builder.finish()


def exact_indexes(encoder: Encoder) -> tuple[Index, ...]:
    """An index that approximates nothing for each view that an encoder makes."""
    kinds = {"dense": Flat(), "sparse": Inverted()}
    return tuple(kinds[view] for view in encoder.views)


def check_index(folder: Path) -> None:
    """Raise CheckpointError where a folder is no index, or is damaged."""
    if not is_index(folder):
        raise CheckpointError(f"{folder} is no index: it has no {CARD}. Build one: encloze index --output {folder}")
    check_manifest(folder)


def view_names(folder: Path) -> tuple[str, ...]:
    """The names of an index's views."""
    return tuple(entry["name"] for entry in read_json(folder / CARD)["views"])


def is_index(path: Path) -> bool:
    """Whether a folder is an index, be it whole or damaged."""
    return (path / CARD).is_file()


def _model_of(encoder: Encoder | None, index: Index, folder: Path) -> dict[str, Any]:
    """What the card of an index says of the encoder that a view was made by: its name is good from any folder.

    A model folder is told by its way from the index, too, so that both may be moved together.
    """
    if encoder is None:
        return {"model": None, "fingerprint": None, "width": None}
    said = {"model": encoder.name, "fingerprint": encoder.fingerprint, "width": encoder.views[index.reads]}
    if (place := Path(encoder.name)).exists():
        beside = os.path.relpath(place.resolve(), folder.resolve())
        said |= {"model": str(place.resolve()), "beside": beside}
    return said


def model_location(entry: dict[str, Any], folder: Path) -> str:
    """The model of a view: where it was, or else beside the index."""
    name, beside = str(entry["model"]), entry.get("beside")
    moved = beside is not None and not Path(name).exists() and (folder / beside).exists()
    return str((folder / beside).resolve()) if moved and beside else name


def check_model(folder: Path, entry: dict[str, Any], encoder: Encoder) -> None:
    if encoder.fingerprint != entry["fingerprint"]:
        made = " and ".join(map(str, encoder.views.values()))
        raise StaleIndexError(
            f"the index {folder} was built by another model: {entry['model']} ({entry['fingerprint']}, "
            f"{entry['width']} wide), and {encoder.name} is {encoder.fingerprint}, {made} wide. "
            f"Build it again: encloze index --model {encoder.name} --output NEW_FOLDER ..."
        )
