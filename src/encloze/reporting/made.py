"""Result folders: what encloze made there, with which verb, from what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encloze import recipe
from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json
from encloze.storage.manifest import check_manifest
from encloze.storage.names import MANIFEST

RECIPE, INPUTS, VERSIONS = "recipe.yaml", "inputs.json", "versions.json"
PAGE = "report.html"


class Made(NamedTuple):
    """A folder that a verb made."""

    folder: Path
    name: str
    """What a report calls it: its path from where the folder that was asked for stands."""
    verb: str
    tree: dict[str, Any]
    """The settings it was made with."""
    recipe: str
    """The same as YAML."""
    versions: dict[str, str]
    inputs: dict[str, Any]
    working_folder: Path
    """Where relative paths of the recipe start."""

    def without_texts(self) -> Made:
        """The same without the texts that its recipe or a stage of it holds: what an inspection was asked about."""
        tree = _without_texts(self.tree)
        if tree == self.tree:
            return self
        return self._replace(tree=tree, recipe=yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def made(folders: Sequence[Path]) -> list[Made]:
    """Everything that encloze made in these folders and below them, in the order in which it was made.

    Raises CheckpointError, with all folders that hold nothing of encloze's.
    """
    found: dict[Path, Made] = {}
    strange = []
    for folder in folders:
        below = list(_below(folder))
        if not below:
            why = "holds no result, nor does a folder below it" if folder.is_dir() else "is no folder"
            strange.append(f"{folder} {why}")
        for file in below:
            found.setdefault(file.parent.resolve(), _read(file.parent, folder))
    if strange:
        raise CheckpointError(
            f"{'; '.join(strange)}. Name folders that encloze wrote: --output of compare, evaluate, stress, pretrain, "
            "finetune, run, demo or any other verb"
        )
    return sorted(found.values(), key=lambda one: ((one.folder / RECIPE).stat().st_mtime_ns, one.name))


def models_of(one: Made, system: dict[str, Any]) -> list[Path]:
    """Where the models are that one of its systems, its index, or what it re-ranks consists of."""
    if system["type"] == "index":
        index = one.working_folder / system["index"]
        if not (index / RECIPE).is_file():
            return []
        one = _read(index, index)
        system = {"type": "model", "model": one.tree.get("model")}
    own = [system[name] for name in ("model", "reranker") if system.get(name)]
    inner = models_of(one, system["system"]) if system["type"] == "reranked" else []
    return [*inner, *(one.working_folder / name for name in own)]


def _without_texts(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {key: [] if key == "texts" else _without_texts(value) for key, value in settings.items()}
    return [_without_texts(item) for item in settings] if isinstance(settings, list) else settings


def _below(folder: Path) -> Iterator[Path]:
    """The recipes of results in a folder, what is hidden, unfinished or itself a report left out."""
    for file in folder.rglob(RECIPE):
        parts = file.relative_to(folder).parent.parts
        hidden = any(part.startswith(".") or part.endswith(".unfinished") for part in parts)
        of_result = all(file.with_name(name).is_file() for name in (INPUTS, VERSIONS))
        if of_result and not hidden and not file.with_name(PAGE).exists():
            yield file


def _read(folder: Path, asked: Path) -> Made:
    if (folder / MANIFEST).is_file():
        check_manifest(folder)
    tree, inputs = recipe.read(folder / RECIPE), read_json(folder / INPUTS)
    name = Path(asked.resolve().name, folder.relative_to(asked)).as_posix()
    return Made(
        folder,
        name,
        str(tree.get("verb", "")),
        tree,
        (folder / RECIPE).read_text(encoding="utf-8"),
        read_json(folder / VERSIONS),
        inputs["inputs"],
        Path(inputs["working_folder"]),
    )
