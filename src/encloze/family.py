"""Families of interchangeable parts, which a recipe chooses by name.

A family is a folder: ``base.py`` holds the family's base class, and every other file holds one member and bears
its name, but for files whose names begin with _. To add a member, add a file, or install a package with an entry point
in the group named like the folder (``encloze.objectives``); nothing else has to know. A member is imported only when
it is chosen.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import pkgutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze.settings import Settings, default_of, help_of, plain

_UNDER_WAY: list[type] = []
"""Families whose JSON schema is being made."""


class Family(Settings):
    """Base of a family: ``class Objective(Family)`` founds one, ``class Mlm(Objective, name="mlm")`` joins it."""

    name: ClassVar[str]
    otherwise: ClassVar[str | None] = None
    """The member whose ``model`` a word is that is no member's name."""
    _known: ClassVar[dict[str, type]]

    def __init_subclass__(cls, *, name: str | None = None, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if Family in cls.__bases__:
            cls._known = {}
        elif name is not None:
            cls.name, cls._known[name] = name, cls

    @classmethod
    def package(cls) -> str:
        """The package that holds the family, say ``encloze.objectives``."""
        return cls.__module__.rpartition(".")[0]

    @classmethod
    def members(cls) -> list[str]:
        """The names of all members, none of which is imported for it."""
        files = (file.name for file in pkgutil.iter_modules(sys.modules[cls.package()].__path__))
        public = {name for name in files if name != "base" and not name.startswith("_")}
        return sorted(public | {plugin.name for plugin in entry_points(group=cls.package())})

    @classmethod
    def member(cls, name: object) -> type[Self]:
        """The member called ``name``; a ValueError names the nearest one and all the others."""
        members = cls.members()
        if name not in members:
            raise ValueError(f"no {cls.__name__.lower()} is called {name!r}; {nearest(name, members)}")
        if name not in cls._known:
            for plugin in entry_points(group=cls.package(), name=str(name)):
                plugin.load()
            if name not in cls._known:
                importlib.import_module(f"{cls.package()}.{name}")
        return cls._known[str(name)]

    @classmethod
    def chosen(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """The member and its settings that a recipe's ``type`` and the values beside it ask for.

        A family whose members are also known by something else than their names (a path, say) extends this.
        """
        if type_ is None:
            raise ValueError(f"is required: one of {', '.join(cls.members())}")
        if cls.otherwise and type_ not in cls.members():
            cls.refuse_misspelt(str(type_))
            return cls.member(cls.otherwise), {**values, "model": str(type_)}
        return cls.member(type_), values

    @classmethod
    def named(cls, text: str) -> Self:
        """The member that a bare word stands for in a recipe, with its defaults: a name, or what the family takes."""
        member, values = cls.chosen(text, {})
        return member(**values)

    def as_chosen(self) -> str:
        """The member's name with what of its settings is not as usual: ``typos (words 0.5)``."""
        usual = {field.name: default_of(field) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        said = [f"{name} {plain(getattr(self, name))}" for name, value in usual.items() if getattr(self, name) != value]
        return f"{self.name} ({', '.join(said)})" if said else self.name

    @classmethod
    def refuse_misspelt(cls, word: str) -> None:
        """Raise ValueError where a word that is no member's name, and no path, looks like one."""
        if "/" not in word and not Path(word).exists() and difflib.get_close_matches(word, cls.members(), 1, 0.7):
            raise ValueError(f"no {cls.__name__.lower()} is called {word!r}; {nearest(word, cls.members())}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        if not is_family(source):
            return handler(source)
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(cls._validated)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        if not is_family(cls):
            return handler(schema)
        shapes: list[dict[str, Any]] = [{"type": "string", "enum": cls.members()}]
        if cls.chosen.__func__ is not Family.chosen.__func__:  # type: ignore[attr-defined]
            shapes.append({"type": "string"})  # a path or another word that the family recognises
        if cls in _UNDER_WAY:  # a member that holds another member of its family
            return {"anyOf": [*shapes, {"type": "object"}]}
        _UNDER_WAY.append(cls)
        try:
            return {"anyOf": [*shapes, *cls._member_schemas()]}
        finally:
            _UNDER_WAY.remove(cls)

    @classmethod
    def _member_schemas(cls) -> list[dict[str, Any]]:
        from pydantic import TypeAdapter

        shapes = []
        for name in cls.members():
            member: type = cls.member(name)
            shape = _inlined(TypeAdapter(member).json_schema(), {})
            shape["properties"] = {"type": {"const": name}, **shape.get("properties", {})}
            for setting, said in help_of(member).items():  # pydantic finds no help that is inherited
                shape["properties"].get(setting, {}).setdefault("description", said)
            shapes.append(shape)
        return shapes

    @classmethod
    def _validated(cls, value: object) -> Self:
        """Build the chosen member from plain values; faults in its settings keep their paths."""
        from pydantic import TypeAdapter

        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"expected a name ({', '.join(cls.members())}) or settings with a type, found {value!r}")
        rest = dict(value)
        member, rest = cls.chosen(rest.pop("type", None), rest)
        return TypeAdapter(member).validate_python(rest)


def is_family(kind: object) -> bool:
    """Whether ``kind`` is the base of a family, from which a recipe must choose a member."""
    return isinstance(kind, type) and Family in kind.__bases__


def _inlined(schema: Any, known: dict[str, Any]) -> Any:
    """A JSON schema with what its references stand for in their places: pydantic knows none but its own."""
    if isinstance(schema, list):
        return [_inlined(part, known) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {**known, **schema.get("$defs", {})}
    if isinstance(name := schema.get("$ref"), str):
        schema = known[name.removeprefix("#/$defs/")] | schema
    return {key: _inlined(value, known) for key, value in schema.items() if key not in ("$defs", "$ref")}


def nearest(name: object, known: list[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, and all of them."""
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def family_folders() -> dict[str, Path]:
    """Every family's folder by name (``objectives``, ``indexes`` ...), found without importing anything."""
    root = Path(__file__).parent
    return {
        file.parent.name: file.parent
        for file in sorted(root.rglob("base.py"))
        if any(
            isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Family" for b in node.bases)
            for node in ast.parse(file.read_text(encoding="utf-8")).body
        )
    }


def summary_of(file: Path) -> str:
    """The sentence that opens a source file, read without importing it."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
