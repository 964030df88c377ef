"""Directive ``settings``: a table of the settings of a class, with type, default and help read from the source.

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
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from encloze.family import is_family
from encloze.settings import default_of, help_of, hints_of, inner_type

HEADER = ("Setting", "Type", "Default", "Description")
WIDTHS = (22, 20, 13, 45)
TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "Path": "path", "Mapping": "mapping"}


class SettingsTable(SphinxDirective):
    """Table with one row for each setting of a class, which is given by its full name.

    The content is ignored. Readers of the unprocessed Markdown file see it in place of the table.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        try:
            settings = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise self.error(f"settings: {error}") from error
        self.env.note_dependency(inspect.getsourcefile(settings) or __file__)
        defaults = {field.name: default_of(field) for field in dataclasses.fields(settings)}
        rows = [
            [
                [nodes.literal(text=field)],
                self._type(hint),
                _inline(_default(defaults[field])),
                _inline(help_of(settings)[field]),
            ]
            for field, hint in hints_of(settings).items()
        ]
        return [_table(rows)] if rows else [nodes.paragraph("", "This class has no settings.")]

    def _type(self, hint: Any) -> list[nodes.Node]:
        """Return the type of a setting in words; a family links to the page of its members."""
        inner, optional, several = inner_type(hint)
        prefix = [nodes.Text("list of ")] if several else []
        suffix = [nodes.Text(", or null")] if optional else []
        if is_family(inner):
            return [*(prefix or [nodes.Text("one of ")]), self._family_link(inner), *suffix]
        if typing.get_origin(inner) is typing.Literal:
            words = " | ".join(f"``{value}``" for value in typing.get_args(inner))
        elif typing.get_origin(inner) is dict:
            words = "mapping"
        elif dataclasses.is_dataclass(inner):
            words = "mapping of settings"
        else:
            words = TYPES[inner.__name__]
        return [*prefix, *_inline(words), *suffix]

    def _family_link(self, family: Any) -> nodes.Node:
        name = family.package().rpartition(".")[2]
        target = "commands" if name == "commands" else f"family-{name}"
        link = pending_xref(
            "", nodes.inline("", name), refdomain="std", reftype="ref", reftarget=target, refexplicit=True, refwarn=True
        )
        link["refdoc"] = self.env.docname
        return link


def _default(value: Any) -> str:
    """Return the default of a setting in words."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "``null``"
    if dataclasses.is_dataclass(value):
        name = getattr(type(value), "name", "")
        return f"``{name}``" if isinstance(name, str) and name else "defaults"
    if isinstance(value, tuple | dict):
        return ", ".join(map(_default, value)) or "empty"
    return f"``{str(value).lower() if isinstance(value, bool) else value}``" if value != "" else "empty"


def _table(rows: list[list[list[nodes.Node]]]) -> nodes.table:
    group = nodes.tgroup(cols=len(HEADER))
    group += [nodes.colspec(colwidth=width) for width in WIDTHS]
    group += nodes.thead("", _row([[nodes.Text(title)] for title in HEADER]))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def _inline(text: str) -> list[nodes.Node]:
    """Return the nodes of a text; what stands between double backticks becomes code."""
    parts = re.split(r"``(.+?)``", " ".join(text.split()))
    return [nodes.literal(text=part) if at % 2 else nodes.Text(part) for at, part in enumerate(parts) if part]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("settings", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
