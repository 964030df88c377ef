"""Conversion of Python arguments (encoders, retrievers, in-memory data, results) to the settings of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.in_memory import format_of
from encloze.encoders.base import Encoder
from encloze.errors import DataError, RecipeError
from encloze.family import Family, is_family
from encloze.recipe import list_faults
from encloze.retrieval.index_folder import stored_fusion, view_names
from encloze.retrieval.views import default_fusion
from encloze.settings import hints_of, inner_type


def settings_of(kind: type, values: dict[str, Any], source: str) -> dict[str, Any]:
    """Convert the Python arguments of a command to values that ``recipe.build`` accepts.

    Args:
        kind: The command's class.
        values: The Python arguments, keyed by the name of the setting.
        source: Text that names the call in error messages.

    Raises:
        RecipeError: Arguments cannot be converted to settings. The message lists all of them.
    """
    hints, settings, faults = hints_of(kind), dict[str, Any](), list[tuple[str, str]]()
    for name, value in values.items():
        hint = hints.get(name)
        wrong = [] if hint is None else list_faults(hint, value, name)
        try:
            settings[name] = value if hint is None or wrong else _setting(hint, value)
        except (DataError, ValueError) as error:
            wrong = [(name, str(error))]
        faults += wrong
    if faults:
        raise RecipeError(source, faults)
    return settings


def _setting(hint: Any, value: Any) -> Any:
    inner, _, is_list = inner_type(hint)
    if is_list and isinstance(value, (list, tuple)):
        return [_one(inner, item) for item in value]
    return _one(inner, value)


def _one(kind: Any, value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, Family)):
        return value
    if isinstance(value, Path):
        return value if kind is Path else str(value)
    if is_family(kind):
        return _member(kind, value)
    if kind is str and isinstance(getattr(value, "name", None), str) and value.name:
        return value.name  # an encoder or a re-ranker
    if kind is Path and isinstance(folder := getattr(value, "folder", None), Path):
        return folder  # a result
    return value


def _member(family: Any, value: Any) -> Any:
    if isinstance(value, dict) and ("type" in value or family is not Format):
        return value
    if family is Format:
        return format_of(value)
    if isinstance(value, Encoder):
        return {"type": "model" if family.__name__ == "System" else "pretrained", "model": value.name}
    if family.__name__ == "System" and hasattr(value, "views") and hasattr(value, "fusion"):
        return _index_system(value)
    return value


def _index_system(retriever: Any) -> dict[str, Any]:
    """Return the settings of a system that ranks like ``retriever``.

    The type of the system is ``reranked`` if the retriever has a re-ranker, otherwise ``index``.
    """
    if retriever.folder is None:
        raise ValueError(
            "the retriever has no index folder. Create the retriever with Retriever.build or Retriever.load"
        )
    views = [view.name for view in retriever.views]
    chosen = [] if views == list(view_names(retriever.folder)) else views
    by_default = stored_fusion(retriever.folder, chosen).fusion or default_fusion(retriever.views)
    fusion = None if retriever.fusion == by_default else retriever.fusion
    index = {"type": "index", "index": retriever.folder, "views": chosen, "fusion": fusion}
    if retriever.reranker is None:
        return index
    reranker = {"reranker": retriever.reranker.name, "depth": retriever.rerank_depth}
    return {"type": "reranked", "system": index, **reranker}
