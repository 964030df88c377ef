"""The functions of the commands that serve a page: the search page, and the page on which results are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from encloze.api._commands import run_command

if TYPE_CHECKING:
    from encloze.commands.label import LabelingResult


def serve(index: str | Path | Sequence[str | Path] = (), **settings: Any) -> None:
    """Serve indexes and models over HTTP until the process gets SIGINT or SIGTERM.

    Args:
        index: One index folder or several.
        **settings: Settings of ``encloze serve``, such as ``port``, ``model`` and ``reranker``.

    Raises:
        RecipeError: A setting is invalid, or the address cannot be used.
        CheckpointError: An index or a model is damaged.

    Example:
        >>> encloze.serve("my_index", port=8080)
    """
    folders = [index] if isinstance(index, (str, Path)) else list(index)
    run_command("serve", index=folders, **settings)


def label(dataset: Any, systems: Sequence[Any], output: str | Path, **settings: Any) -> LabelingResult:
    """Judge the documents that several systems rank, on a page, until the process gets SIGINT or SIGTERM.

    Args:
        dataset: Documents and, unless the setting ``queries`` names a file of queries, queries.
        systems: Names, paths or objects of the systems whose documents are judged, the baseline first.
        output: Folder for the judgments.
        **settings: Settings of ``encloze label``, such as ``queries``, ``depth`` and ``port``.

    Raises:
        RecipeError: A setting is invalid, or the address cannot be used.
        DataError: There are no queries, or a system ranks documents that the data set does not have.

    Example:
        >>> encloze.label("my_data", ["bm25", "minilm"], "labeled").folder
    """
    return cast("LabelingResult", run_command("label", dataset=dataset, systems=systems, output=output, **settings))
