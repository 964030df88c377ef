"""Check for recipes that send API keys: a recipe of somebody else could send any key to any server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from encloze.errors import RecipeError

SETTING = "api_key_variable"
"""Setting that names the environment variable with an API key."""
OPTION = "allow_api_keys"
"""Option of the command line, and setting of ``rerun``, that confirms that a recipe may send keys."""


def refuse_api_keys(tree: Any, source: str) -> None:
    """Raise RecipeError if settings read from a file send the API key in an environment variable to a server.

    Args:
        tree: The settings, as read from the file.
        source: The file, for the message.
    """
    faults = [(path, f"{message}. If you trust the recipe, add --allow-api-keys") for path, message in _uses(tree, "")]
    if faults:
        raise RecipeError(source, faults)


def _uses(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from _uses(item, f"{path}[{number}]")
    if not isinstance(tree, dict):
        return
    for name, value in tree.items():
        inner = f"{path}.{name}".strip(".")
        if name == SETTING and value is not None:
            yield inner, f"sends the API key in the environment variable {value!r} to {tree.get('url')!r}"
        elif name == OPTION and value not in (None, False):
            yield inner, "a recipe cannot confirm itself"
        else:
            yield from _uses(value, inner)
