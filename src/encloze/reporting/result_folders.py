"""Search for result folders, and reading of the command, settings and inputs that produced each folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encloze import recipe
from encloze.errors import CheckpointError
from encloze.storage.integrity import check_if_result
from encloze.storage.provenance import read_inputs, read_versions

RECIPE, INPUTS, VERSIONS = "recipe.yaml", "inputs.json", "versions.json"
PAGE = "report.html"


class ResultFolder(NamedTuple):
    """A folder that a command wrote, with the settings, package versions and inputs of the command."""

    path: Path
    name: str
    """Name of the folder in the report: ``runs/test`` for the subfolder ``test`` if the report is on ``runs``."""
    command: str
    """Name of the command that wrote the folder."""
    tree: dict[str, Any]
    """Settings of the command as nested dictionaries."""
    recipe: str
    """Settings of the command as YAML text."""
    versions: dict[str, str]
    """Versions of Python and of the packages that were installed when the command ran."""
    inputs: dict[str, Any]
    """The inputs, keyed by the setting that names them: path and hash of a file or folder, the name of a hub model."""
    working_folder: Path
    """The folder to which relative paths in the recipe refer."""

    def without_texts(self) -> ResultFolder:
        """Return a copy of the result without texts of queries in its recipe and the recipes of its pipeline stages."""
        tree = _without_texts(self.tree)
        if tree == self.tree:
            return self
        return self._replace(tree=tree, recipe=yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def find_result_folders(folders: Sequence[Path]) -> list[ResultFolder]:
    """Return all folders with results among ``folders`` and their subfolders, in the order in which they were written.

    Args:
        folders: Folders that encloze wrote, or folders that contain such folders.

    Raises:
        CheckpointError: A folder contains no results. The message names all such folders.
    """
    results: dict[Path, ResultFolder] = {}
    faults = []
    for folder in folders:
        recipes = list(_find_recipes(folder))
        if not recipes:
            reason = "contains no results, nor does a folder below it" if folder.is_dir() else "is not a folder"
            faults.append(f"{folder} {reason}")
        for file in recipes:
            results.setdefault(file.parent.resolve(), _read(file.parent, folder))
    if faults:
        raise CheckpointError(
            f"{'; '.join(faults)}. Name folders that encloze wrote: the --output of compare, evaluate, robustness, "
            "pretrain, finetune, run, demo or another command"
        )
    return sorted(results.values(), key=lambda result: ((result.path / RECIPE).stat().st_mtime_ns, result.name))


def model_folders(result: ResultFolder, system: dict[str, Any]) -> list[Path]:
    """Return the folders of the models that a system uses, including those of its index and re-ranker.

    Args:
        result: The result folder whose recipe contains the system.
        system: Settings of the system.
    """
    if system["type"] == "index":
        index = result.working_folder / system["index"]
        if not (index / RECIPE).is_file():
            return []
        result = _read(index, index)
        system = {"type": "model", "model": result.tree.get("model")}
    models = [system[name] for name in ("model", "reranker") if system.get(name)]
    inner = model_folders(result, system["system"]) if system["type"] == "reranked" else []
    return [*inner, *(result.working_folder / name for name in models)]


def _without_texts(settings: Any) -> Any:
    """Return settings in which lists called ``queries``, which contain texts for ``encloze inspect``, are empty."""
    if isinstance(settings, dict):
        return {
            key: [] if key == "queries" and isinstance(value, list) else _without_texts(value)
            for key, value in settings.items()
        }
    return [_without_texts(item) for item in settings] if isinstance(settings, list) else settings


def _find_recipes(folder: Path) -> Iterator[Path]:
    """Yield the recipe file of each result folder in ``folder``, except hidden folders, checkpoints and reports."""
    for file in folder.rglob(RECIPE):
        parts = file.relative_to(folder).parent.parts
        is_hidden = any(part.startswith(".") or part.endswith(".checkpoint") for part in parts)
        is_result = all(file.with_name(name).is_file() for name in (INPUTS, VERSIONS))
        if is_result and not is_hidden and not file.with_name(PAGE).exists():
            yield file


def _read(folder: Path, root: Path) -> ResultFolder:
    check_if_result(folder)
    tree, inputs = recipe.read(folder / RECIPE), read_inputs(folder)
    return ResultFolder(
        path=folder,
        name=Path(root.resolve().name, folder.relative_to(root)).as_posix(),
        command=str(tree.get("verb", "")),
        tree=tree,
        recipe=(folder / RECIPE).read_text(encoding="utf-8"),
        versions=read_versions(folder),
        inputs=inputs["inputs"],
        working_folder=Path(inputs["working_folder"]),
    )
