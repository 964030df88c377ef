"""Placeholders of large libraries, so that the help of a command is printed without importing them.

The help reads settings, their defaults and their documentation. These are in the modules that also train and search,
which import torch and others: that takes seconds. Sphinx imports modules for their documentation in the same way
(``autodoc_mock_imports``).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from encloze.family import has_plugins

LIBRARIES = frozenset(
    {
        "accelerate",
        "faiss",
        "huggingface_hub",
        "numba",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "pydantic_core",
        "safetensors",
        "scipy",
        "sklearn",
        "tokenizers",
        "torch",
        "transformers",
    }
)


def use_placeholders() -> None:
    """Replace the libraries by placeholders for the rest of the process, unless members of other packages are found.

    A placeholder can be imported, inherited from and used as a decorator, but computes nothing. Modules of other
    packages may compute when they are imported.
    """
    if not has_plugins():
        sys.meta_path.insert(0, PlaceholderFinder())


class PlaceholderFinder:
    """Finder of modules that finds placeholders in place of the libraries."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        is_library = name.partition(".")[0] in LIBRARIES
        return ModuleSpec(name, self, is_package=True) if is_library else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a placeholder has no code."""


class _Type(type):
    """Type of placeholders of classes, functions and constants."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _placeholder(name)

    def __call__(cls, *arguments: Any, **settings: Any) -> Any:
        """Return the function that a decorator is called with; for other calls, a placeholder."""
        is_decorator = len(arguments) == 1 and not settings and callable(arguments[0])
        return arguments[0] if is_decorator else _placeholder(cls.__name__)

    def _itself(cls, *others: Any) -> Any:
        return cls

    __getitem__ = __neg__ = __or__ = __ror__ = __add__ = __sub__ = __mul__ = __truediv__ = __pow__ = _itself


def _placeholder(name: str) -> Any:
    return _Type(name, (), {})


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _placeholder(name)
