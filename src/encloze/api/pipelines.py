"""Functions for what commands have written: pipelines, saved recipes, verification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from encloze import recipe as recipes
from encloze.api._commands import run_command
from encloze.errors import RecipeError

if TYPE_CHECKING:
    from encloze.commands.run import PipelineResult
    from encloze.commands.verify import Verification


def run(recipe: str | Path, **settings: Any) -> PipelineResult:
    """Run a pipeline of commands from a recipe.

    Args:
        recipe: A YAML file, or the name of a shipped recipe, such as ``retromae``.
        **settings: Settings of ``encloze run`` that replace those of the recipe, such as ``dataset`` and ``output``.

    Example:
        >>> result = encloze.run("retromae", dataset="my_data", output="pipeline")
    """
    tree = recipes.read(recipe, "run")
    if (command := tree.pop("verb", "run")) != "run":
        message = f"the recipe is for {command!r}, not for a pipeline. Use: encloze {command} {recipe}"
        raise RecipeError(f"the recipe {recipe}", [("verb", message)])
    return cast("PipelineResult", run_command("run", **{**tree, **settings}))


def rerun(folder: str | Path, **settings: Any) -> Any:
    """Repeat the command that wrote a result folder, using the recipe saved in that folder.

    Args:
        folder: The output folder of the command to repeat.
        **settings: Settings of ``encloze rerun``, such as ``output``.

    Returns:
        The result of the repeated command.

    Example:
        >>> encloze.rerun("evaluation", output="evaluation_2")
    """
    return run_command("rerun", folder=folder, **settings)


def verify(folder: str | Path) -> Verification:
    """Compare all files of a folder that encloze wrote with their checksums, and check their content.

    Args:
        folder: An index, a model, a result, a pipeline or the work folder of an unfinished run.

    Returns:
        What was checked, and what is damaged (``faults``).

    Example:
        >>> encloze.verify("index").faults
        ()
    """
    return cast("Verification", run_command("verify", folder=folder))
