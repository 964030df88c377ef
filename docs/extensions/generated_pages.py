"""Reference pages written from the code when the documentation is built, such as those of commands and families.

The pages appear in ``docs/reference/generated`` and are not kept in git. A page is written again only if its text
changes, so that an unchanged page is not read again.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import encloze
from encloze.commands.base import Command
from encloze.family import Family, family_folders, is_family, summary_of
from encloze.models.folder_fields import FIELDS
from encloze.recipe import shipped
from encloze.settings import Settings, hints_of

SOURCE = Path(encloze.__file__).parent


def write_pages(app: Sphinx) -> None:
    """Write every generated page and remove pages of things that no longer exist."""
    folder = Path(app.srcdir) / "reference" / "generated"
    pages = dict([*_command_pages(), *_recipe_pages(), *_family_pages(), *_api_pages(), *_folder_pages()])
    for name, text in pages.items():
        file = folder / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for file in folder.rglob("*.md"):
        if file.relative_to(folder).with_suffix("").as_posix() not in pages:
            file.unlink()


def _command_pages() -> Iterator[tuple[str, str]]:
    """Yield an overview of the commands, and a page for each."""
    rows = [
        f"| [`{name}`](commands/{name}.md) | {summary_of(SOURCE / 'commands' / f'{name}.py')} |"
        for name in Command.members()
    ]
    yield (
        "commands",
        _page(
            "(commands)=\n# Commands",
            "```\nencloze COMMAND [RECIPE.yaml] [--setting VALUE ...]\n```",
            "A setting is given on the command line (`--training.epochs 3`) or in a recipe, a YAML file with the same "
            "names. `encloze COMMAND --help` prints what stands here.",
            "| Command | Description |\n|---|---|\n" + "\n".join(rows),
            _toctree(f"commands/{name}" for name in Command.members()),
        ),
    )
    for name in Command.members():
        kind = Command.member(name)
        words = "".join(f" [{word.upper()}]" for word in kind.positional_settings)
        recipes = ", ".join(f"[`{recipe}`](#recipe-{name}-{recipe})" for recipe in shipped(name))
        yield (
            f"commands/{name}",
            _page(
                f"(command-{name})=\n# encloze {name}",
                summary_of(SOURCE / "commands" / f"{name}.py"),
                f"```\nencloze {name} [RECIPE.yaml]{words} [--setting VALUE ...]\n```",
                f"Shipped recipes: {recipes}." if recipes else "",
                f"## Settings\n\n{_settings(kind)}",
                f"## Python class\n\n{_autodoc('class', _full_name(kind), kind)}",
            ),
        )


def _recipe_pages() -> Iterator[tuple[str, str]]:
    """Yield the page of the recipes that are part of the package, with their text."""
    parts = ["# Recipes", "Recipes that are part of the package. `encloze COMMAND NAME` runs one by its name."]
    for command in Command.members():
        for name, file in shipped(command).items():
            text = file.read_text(encoding="utf-8").rstrip()
            parts += [
                f"(recipe-{command}-{name})=\n## encloze {command} {name}",
                f"Command: [`{command}`](commands/{command}.md).",
                f"```yaml\n{text}\n```",
            ]
    yield "recipes", _page(*parts)


def _family_pages() -> Iterator[tuple[str, str]]:
    """Yield an overview of the families, and a page for each, with its base class and its members."""
    folders = {name: folder for name, folder in family_folders().items() if name != "commands"}
    rows = [f"| [{name}](families/{name}.md) | {summary_of(folder / 'base.py')} |" for name, folder in folders.items()]
    yield (
        "families",
        _page(
            "(families)=\n# Families",
            "A family is a set of interchangeable parts. A recipe chooses a member by its name; `encloze list FAMILY` "
            "prints the names. [Extending](../../how_to/extending.md) shows how to add a member.",
            "| Family | Description |\n|---|---|\n" + "\n".join(rows),
            _toctree(f"families/{name}" for name in folders),
        ),
    )
    for name, folder in folders.items():
        package = "encloze." + ".".join(folder.relative_to(SOURCE).parts)
        base = _family_of(importlib.import_module(f"{package}.base"))
        parts = [f"(family-{name})=\n# {name}", summary_of(folder / "base.py")]
        parts += ["## Base class", _autodoc("class", _full_name(base), base)]
        for member in sorted(base.members()):
            kind = base.member(member)
            parts += [f"## {member}", _autodoc("class", _full_name(kind), kind)]
            parts += [_settings(kind)] if dataclasses.is_dataclass(kind) and hints_of(kind) else []
        yield f"families/{name}", _page(*parts)


def _api_pages() -> Iterator[tuple[str, str]]:
    """Yield an overview of the names that ``encloze`` exports, and a page for each."""
    groups: dict[str, list[str]] = {"Classes": [], "Functions": [], "Commands and families": [], "Errors": []}
    pages: list[str] = []
    for name in encloze.__all__:
        value = getattr(encloze, name)
        doc = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        if page := _described_elsewhere(value):
            groups["Commands and families"].append(f"| [`{name}`]({page}) | {doc} |")
            continue
        kind = "function" if not isinstance(value, type) else "class"
        kind = "exception" if isinstance(value, type) and issubclass(value, BaseException) else kind
        title = {"function": "Functions", "class": "Classes", "exception": "Errors"}[kind]
        groups[title].append(f"| [`{name}`](api/{name}.md) | {doc} |")
        pages.append(name)
        yield f"api/{name}", _page(f"# {name}", _autodoc(kind, f"encloze.{name}", value))
    parts = ["# Python API", "Every name here is imported with `from encloze import NAME`."]
    for title, rows in groups.items():
        if rows:
            parts += [f"## {title}", "| Name | Description |\n|---|---|\n" + "\n".join(rows)]
    yield "api", _page(*parts, _toctree(f"api/{name}" for name in pages))


def _folder_pages() -> Iterator[tuple[str, str]]:
    """Yield the page of the fields of model folders, with a table for each file."""
    text = (
        "The files below are those that sentence-transformers 6.2 and transformers read when they load a model folder. "
        "encloze honors each field that can change a vector or a score, or refuses the folder with an error that names "
        "the field. A folder with an `encloze.json` or a `reranker.json` is read from "
        "[that file](../models.md#the-model-folder) instead; its weights and its tokenizer are read as described here."
    )
    parts = ["# Fields of model folders", text]
    for file in dict.fromkeys(field.file for field in FIELDS):
        rows = [f"| `{f.name}` | {f.treatment} | {f.description} |" for f in FIELDS if f.file == file]
        parts += [f"## {file}", "| Field | Treatment | Description |\n|---|---|---|\n" + "\n".join(rows)]
    yield "model_folders", _page(*parts)


def _described_elsewhere(value: Any) -> str:
    """Return the page of a command, or of a family of which ``value`` is the base class or a member; else nothing."""
    if not (isinstance(value, type) and issubclass(value, Family)):
        return ""
    if issubclass(value, Command) and value is not Command:
        return f"commands/{value.name}.md"
    base = next(kind for kind in value.__mro__ if is_family(kind))
    name = base.package().rpartition(".")[2]
    return f"families/{name}.md"


def _family_of(module: ModuleType) -> Any:
    """Return the base class of the family that a ``base.py`` defines."""
    return next(value for value in vars(module).values() if is_family(value) and value.__module__ == module.__name__)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _autodoc(directive: str, name: str, value: Any) -> str:
    """Return the autodoc directive of an object; settings are left to the table of settings."""
    options = ["   :members:"] if directive == "class" else []
    if isinstance(value, type) and issubclass(value, Settings) and dataclasses.is_dataclass(value):
        hidden = [*hints_of(value), *(name for name in ("name", "words", "otherwise") if hasattr(value, name))]
        options += [f"   :exclude-members: {', '.join(hidden)}"] if hidden else []
    return "\n".join(["```{eval-rst}", f".. auto{directive}:: {name}", *options, "```"])


def _settings(kind: type) -> str:
    return f"```{{settings}} {_full_name(kind)}\n```"


def _toctree(names: Iterator[str] | Any) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])


def _page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
