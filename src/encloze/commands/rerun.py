"""Repeat what made a folder, from the recipe that is kept in it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from encloze import progress, recipe
from encloze.commands.base import Command, command
from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json
from encloze.storage.provenance import describe_input, versions


@dataclass(frozen=True)
class Rerun(Command, name="rerun"):
    """Run the saved recipe once more; inputs or packages that changed since are named."""

    words: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path
    """A folder that encloze made."""
    output: Path | None = None
    """Where the new result goes; FOLDER-rerun where none is given."""

    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def run(self) -> Any:
        if not (self.folder / "recipe.yaml").is_file():
            raise CheckpointError(f"{self.folder} has no recipe.yaml: it is not a folder that encloze made")
        tree = recipe.read(self.folder / "recipe.yaml")
        name = str(tree.pop("verb", ""))
        made = read_json(self.folder / "inputs.json")
        self._name_changes(made["inputs"])
        output = (self.output or self.folder.with_name(f"{self.folder.name}-rerun")).resolve()
        tree["overwrite"] = self.overwrite
        tree["output"] = str(output)
        source = f"{self.folder / 'recipe.yaml'}"
        with contextlib.chdir(made["working_folder"] if Path(made["working_folder"]).is_dir() else "."):
            return recipe.build(command(name), tree, source=source).run()  # its relative paths start there

    def _name_changes(self, inputs: dict[str, Any]) -> None:
        for name, then in inputs.items():
            if "path" in then and describe_input(then["path"]) != then:
                progress.warn(f"the {name} {then['path']} is not what it was when {self.folder} was made")
        was, now = read_json(self.folder / "versions.json"), versions()
        changed = [f"{name} {was[name]} -> {now.get(name, 'none')}" for name in was if was[name] != now.get(name)]
        if changed:
            progress.warn(f"versions changed since {self.folder} was made: {', '.join(changed)}")
