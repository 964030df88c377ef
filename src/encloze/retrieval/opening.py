"""Opening of the indexes in an index folder, with the encoders of their queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encloze.data.corpus import Corpus
from encloze.data.field_columns import SegmentedFields
from encloze.encoders.base import Encoder, Precision, load_encoder
from encloze.errors import CheckpointError, RecipeError
from encloze.retrieval.engine_documents import EngineFields
from encloze.retrieval.engine_index import open_engine_index
from encloze.retrieval.index_folder import (
    check_model,
    model_location,
    open_documents,
    open_fields,
    open_view,
    stored_engine,
    view_entries,
)
from encloze.retrieval.index_state import IndexState
from encloze.retrieval.views import View
from encloze.search.segment import Opened

EncoderOf = Callable[[Mapping[str, Any]], Encoder | None]
"""Function that returns the encoder of an index from its description; None for an index of texts."""


def open_views(
    folder: Path,
    entries: Sequence[Mapping[str, Any]],
    encoder_of: EncoderOf,
    state: IndexState,
    opened: dict[str, Opened],
) -> list[View]:
    """Return the indexes of an index folder that ``entries`` describe, in a state.

    ``opened`` contains what was opened before, by the names of the indexes. It is updated.
    """
    return [
        View(entry["name"], open_view(folder, entry, state, opened.setdefault(entry["name"], {})), encoder_of(entry))
        for entry in entries
    ]


class Contents(NamedTuple):
    """What a retriever searches: documents, indexes, and the fields that filters use."""

    documents: Corpus
    views: list[View]
    fields: SegmentedFields | EngineFields


def open_contents(
    folder: Path, names: Sequence[str], encoder_of: EncoderOf, state: IndexState, opened: dict[str, Opened]
) -> Contents:
    """Open an index folder, whose documents are in the folder or in a search engine.

    Args:
        folder: The index folder.
        names: Names of the indexes to open; all if empty.
        encoder_of: Function that returns the encoder of an index.
        state: The state of the folder.
        opened: What was opened before, by the names of the indexes. It is updated.
    """
    if stored := stored_engine(folder):
        return Contents(*open_engine_index(folder, stored, names, encoder_of))
    views = open_views(folder, view_entries(folder, names), encoder_of, state, opened)
    return Contents(open_documents(folder, state), views, open_fields(folder, state))


def encoder_finder(
    folder: Path, encoder: Encoder | str | Path | None, device: str | None, precision: Precision
) -> EncoderOf:
    """Return a function that loads the encoder of an index when it is needed, and each model only once.

    Args:
        folder: The index folder.
        encoder: The model that built the indexes; by default it is loaded from its stored path.
        device: Device of the models that are loaded.
        precision: Precision of these models.
    """
    loaded = dict[str, Encoder]()

    def find(entry: Mapping[str, Any]) -> Encoder | None:
        if not entry["model"]:
            return None
        name = str(model_location(folder, entry) if encoder is None else encoder)
        if name not in loaded:
            try:
                found = loaded_encoder(encoder or name, device, precision)
            except CheckpointError as error:
                raise CheckpointError(
                    f"the model {name}, which built the index {folder}, cannot be loaded: {error}. If it was moved, "
                    "give its new path as model"
                ) from error
            assert found is not None  # a name was given
            loaded[name] = found
        check_model(folder, entry, loaded[name])
        return loaded[name]

    return find


def loaded_encoder(encoder: Any, device: str | None, precision: Precision) -> Encoder | None:
    """Return the encoder, which is loaded if it is given by name. Raise RecipeError for values of another type."""
    if isinstance(encoder, (str, Path)):
        return load_encoder(str(encoder), precision, device)
    if encoder is not None and (isinstance(encoder, type) or not hasattr(encoder, "represent_documents")):
        message = f"expected an Encoder or the name of one, found {type(encoder).__name__}"
        raise RecipeError("Retriever", [("encoder", message)])
    found: Encoder | None = encoder
    return found
