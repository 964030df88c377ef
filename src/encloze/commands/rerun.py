"""Repeat an encloze command from the recipe saved in its output folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from encloze import progress, recipe
from encloze.commands._api_keys import refuse_api_keys
from encloze.commands.base import Command, get_command
from encloze.errors import CheckpointError
from encloze.storage.integrity import check_if_result
from encloze.storage.provenance import describe_input, read_inputs, read_versions, versions


@dataclass(frozen=True)
class Rerun(Command, name="rerun"):
    """Repeat an encloze command from its saved recipe. Warns if inputs or package versions have changed since.

    Example:
        >>> Rerun(folder="retriever", output="retriever-2").run()
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path
    """Output folder of the command to repeat. Its recipe.yaml is read."""
    output: Path | None = None
    """Output folder of the repeated command; by default the path in the setting folder with -rerun appended."""

    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    allow_api_keys: bool = False
    """Whether the saved recipe may send API keys in environment variables to servers."""

    def run(self) -> Any:
        """Run the saved command and return its result."""
        check_if_result(self.folder, only=("recipe.yaml", "inputs.json"))
        recipe_file = self.folder / "recipe.yaml"
        if not recipe_file.is_file():
            raise CheckpointError(f"{self.folder} has no recipe.yaml. Name a folder that an encloze command wrote")
        tree = recipe.read(recipe_file)
        if not self.allow_api_keys:
            refuse_api_keys(tree, str(recipe_file))
        name = str(tree.pop("verb", ""))
        provenance = read_inputs(self.folder)
        self._warn_of_changes(provenance["inputs"])
        output = (self.output or self.folder.with_name(f"{self.folder.name}-rerun")).resolve()
        tree["overwrite"] = self.overwrite
        tree["output"] = str(output)
        working_folder = Path(provenance["working_folder"])
        # Relative paths in the recipe are relative to the working folder of the original run.
        with contextlib.chdir(working_folder if working_folder.is_dir() else "."):
            return recipe.build(get_command(name), tree, source=str(recipe_file)).run()

    def _warn_of_changes(self, inputs: dict[str, Any]) -> None:
        """Warn of inputs and package versions that have changed since ``folder`` was written."""
        for name, recorded in inputs.items():
            if "path" in recorded and describe_input(recorded["path"]) != recorded:
                progress.warn(f"the {name} {recorded['path']} has changed since {self.folder} was written")
        before, now = read_versions(self.folder), versions()
        changed = [
            f"{name} {before[name]} -> {now.get(name, 'none')}" for name in before if before[name] != now.get(name)
        ]
        if changed:
            progress.warn(f"packages or the machine have changed since {self.folder} was written: {', '.join(changed)}")
