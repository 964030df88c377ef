"""Families: interchangeable classes that a recipe selects by name.

A family is a package: ``base.py`` holds the base class, and every other module contains one member (a class that
can be selected) and has the name of this member. Modules whose names begin with an underscore, and sub-packages, are
not members. To add a member, add a module, or install a package with an entry point in the group that has the name of
the family's package (``encloze.objectives``). A member is imported only when it is selected.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze.errors import missing_extra
from encloze.settings import Settings, default_of, help_of, plain

_TRAINING_PACKAGES = ("accelerate", "sentencepiece", "sklearn", "torch", "transformers")
_IN_PROGRESS: list[type] = []
"""Families whose JSON schema is being built, to stop at recursion."""


class Family(Settings):
    """Base class of all families; a family is a set of interchangeable classes that a recipe selects by name.

    ``class Objective(Family)`` defines a family; ``class Mlm(Objective, name="mlm")`` is one of its members.

    Members are frozen dataclasses; the fields of a member are its settings.
    """

    name: ClassVar[str]
    default_member: ClassVar[str | None] = None
    """Name of the member that is selected if a recipe contains a name that no member has, such as that of a model. The
    name in the recipe then becomes the member's setting ``model``. None: a name that no member has is an error."""
    _loaded_members: ClassVar[dict[str, type]]

    def __init_subclass__(cls, *, name: str | None = None, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if Family in cls.__bases__:
            cls._loaded_members = {}
        elif name is not None:
            cls.name, cls._loaded_members[name] = name, cls

    @classmethod
    def package(cls) -> str:
        """Return the name of the family's package, such as ``encloze.objectives``."""
        return cls.__module__.rpartition(".")[0]

    @classmethod
    def members(cls) -> list[str]:
        """Return the names of all members of the family, without importing them."""
        modules = pkgutil.iter_modules(sys.modules[cls.package()].__path__)
        names = {module.name for module in modules if not module.ispkg}
        public = {name for name in names if name != "base" and not name.startswith("_")}
        return sorted(public | {plugin.name for plugin in _plugins(cls.package())})

    @classmethod
    def member(cls, name: object) -> type[Self]:
        """Return the member class with this name, and import it if necessary.

        Raises:
            ValueError: There is no such member. The message suggests the closest name and lists all names.
        """
        members = cls.members()
        if name not in members:
            raise ValueError(f"unknown {_words(cls.__name__)} {name!r}; {nearest(name, members)}")
        if name not in cls._loaded_members:
            for plugin in _plugins(cls.package()).select(name=str(name)):
                plugin.load()
            if name not in cls._loaded_members:
                _import_member(f"{cls.package()}.{name}")
        return cls._loaded_members[str(name)]

    @classmethod
    def resolve_member(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the member class that ``type`` in a recipe selects, and the settings of this member.

        ``values`` contains the settings that the recipe gives for the member, without ``type``.

        A family whose members can also be selected in another way, such as by a path, overrides this method.

        Raises:
            ValueError: ``type_`` is missing or unknown.
        """
        if type_ is None:
            raise ValueError(f"is required: one of {', '.join(cls.members())}")
        if cls.default_member and type_ not in cls.members():
            cls.refuse_misspelled(str(type_))
            return cls.member(cls.default_member), {**values, "model": str(type_)}
        return cls.member(type_), values

    @classmethod
    def from_name(cls, text: str) -> Self:
        """Return an instance of the named member with default settings. Raises ValueError if the name is unknown."""
        member, values = cls.resolve_member(text, {})
        return member(**values)

    def summary(self) -> str:
        """Return the member's name with the settings that differ from their defaults: ``typos (word_fraction 0.5)``."""
        defaults = {field.name: default_of(field) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        changed = {name: getattr(self, name) for name, value in defaults.items() if getattr(self, name) != value}
        settings = ", ".join(f"{name} {plain(value)}" for name, value in changed.items())
        return f"{self.name} ({settings})" if settings else self.name

    @classmethod
    def refuse_misspelled(cls, word: str) -> None:
        """Raise ValueError if ``word`` is similar to a member's name (probably misspelled), and is not a path."""
        if "/" not in word and not Path(word).exists() and difflib.get_close_matches(word, cls.members(), 1, 0.7):
            raise ValueError(f"unknown {_words(cls.__name__)} {word!r}; {nearest(word, cls.members())}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        if not is_family(source):
            return handler(source)
        from pydantic_core import core_schema

        return core_schema.any_schema()  # pydantic makes JSON schemas of families; recipe.py builds their members

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        if not is_family(cls):
            return handler(schema)
        choices: list[dict[str, Any]] = [{"type": "string", "enum": cls.members()}]
        if cls.resolve_member.__func__ is not Family.resolve_member.__func__:  # type: ignore[attr-defined]
            choices.append({"type": "string"})  # a path or another word that the family recognizes
        if cls in _IN_PROGRESS:  # a member with a setting of its own family
            return {"anyOf": [*choices, {"type": "object"}]}
        _IN_PROGRESS.append(cls)
        try:
            return {"anyOf": [*choices, *cls._member_schemas()]}
        finally:
            _IN_PROGRESS.remove(cls)

    @classmethod
    def _member_schemas(cls) -> list[dict[str, Any]]:
        from pydantic import TypeAdapter

        schemas = []
        for name in cls.members():
            member: type = cls.member(name)
            schema = _inlined(TypeAdapter(member).json_schema(), {})
            schema["properties"] = {"type": {"const": name}, **schema.get("properties", {})}
            for setting, text in help_of(member).items():  # pydantic does not find the help of inherited fields
                schema["properties"].get(setting, {}).setdefault("description", text)
            schemas.append(schema)
        return schemas


def _import_member(module: str) -> None:
    """Import the module of a family member. Raises MissingExtraError if a package of the extra ``train`` is missing."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            raise
        raise missing_extra(package, "train") from error


@functools.cache
def _plugins(group: str) -> EntryPoints:
    """Return the entry points of ``group`` in all installed packages; cached, because the search is slow."""
    return entry_points(group=group)


def has_plugins() -> bool:
    """Return whether an installed package has an entry point in the group of a family."""
    return any(group.partition(".")[0] == "encloze" for group in entry_points().groups)


def is_family(kind: object) -> bool:
    """Return whether ``kind`` is the base class of a family, such as ``Objective``; False for members."""
    return isinstance(kind, type) and Family in kind.__bases__


def _inlined(schema: Any, known: dict[str, Any]) -> Any:
    """Return a JSON schema in which each ``$ref`` is replaced by the definition that it refers to.

    Schemas of members become parts of a larger schema, in which Pydantic would not resolve their references.
    """
    if isinstance(schema, list):
        return [_inlined(part, known) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {**known, **schema.get("$defs", {})}
    if isinstance(name := schema.get("$ref"), str):
        schema = known[name.removeprefix("#/$defs/")] | schema
    return {key: _inlined(value, known) for key, value in schema.items() if key not in ("$defs", "$ref")}


def nearest(name: object, known: list[str]) -> str:
    """Return the end of an error message about an unknown name: the most similar known name, then all known names."""
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def family_folders() -> dict[str, Path]:
    """Return the source folder of each family by name (``objectives``, ...), without importing the families."""
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
    """Return the first line of the module docstring in a source file, without importing the module."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _words(class_name: str) -> str:
    """Return a class name as lower-case words: ``QueryPerturbation`` becomes "query perturbation"."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in class_name).strip()


def lazy_members(package: str) -> Callable[[str], Any]:
    """Return the function ``__getattr__`` for a family's package. It imports each class of the family on first use.

    Example:
        >>> from encloze.losses import Contrastive  # encloze.losses.contrastive is imported now
    """

    def get_class(name: str) -> Any:
        if name[:1].isupper():
            base = vars(importlib.import_module(f"{package}.base"))
            family = next(kind for kind in base.values() if is_family(kind) and kind.package() == package)
            for kind in (family, *map(family.member, family.members())):
                if kind.__name__ == name:
                    return kind
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get_class
