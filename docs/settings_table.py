"""The directive ``settings``: a table of a settings class, its help and defaults read from the source.

```{settings} encloze.objectives.retromae.RetroMae
```
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from encloze.family import is_family
from encloze.recipe import inner_type
from encloze.settings import default_of, help_of, hints_of

_HEAD = ("setting", "kind", "default", "meaning")
_WIDTHS = (22, 20, 13, 45)


class SettingsTable(SphinxDirective):
    """One row for each setting of a class, given by its full name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise self.error(f"settings: {error}") from error
        self.env.note_dependency(inspect.getsourcefile(kind) or __file__)
        defaults = {field.name: default_of(field) for field in dataclasses.fields(kind)}
        rows = [
            (f"``{field}``", _kind(hint), _default(defaults[field]), help_of(kind)[field])
            for field, hint in hints_of(kind).items()
        ]
        return [_table(rows)]


def _kind(hint: Any) -> str:
    """A setting's kind in words."""
    inner, optional, several = inner_type(hint)
    if is_family(inner):
        words = " | ".join(f"``{member}``" for member in inner.members())
    elif typing.get_origin(inner) is typing.Literal:
        words = " | ".join(f"``{value}``" for value in typing.get_args(inner))
    elif typing.get_origin(inner) is dict:
        words = "settings by name"
    elif dataclasses.is_dataclass(inner):
        words = "settings of their own"
    else:
        words = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "Path": "path"}[
            inner.__name__
        ]
    return f"{'list of ' * several}{words}{', or null' * optional}"


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "``null``"
    if dataclasses.is_dataclass(value):
        name = getattr(type(value), "name", "")
        return f"``{name}``" if isinstance(name, str) and name else "their defaults"
    if isinstance(value, tuple | dict):
        return ", ".join(map(_default, value)) or "none"
    return f"``{str(value).lower() if isinstance(value, bool) else value}``" if value != "" else "empty"


def _table(rows: list[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(_HEAD))
    group += [nodes.colspec(colwidth=width) for width in _WIDTHS]
    group += nodes.thead("", _row(_HEAD))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *_inline(cell))) for cell in cells))


def _inline(text: str) -> list[nodes.Node]:
    """Text with ``names`` in the type of code."""
    parts = re.split(r"``(.+?)``", " ".join(text.split()))
    return [nodes.literal(text=part) if at % 2 else nodes.Text(part) for at, part in enumerate(parts) if part]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
