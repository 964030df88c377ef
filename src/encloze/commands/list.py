"""List the components that recipes select by name, such as all objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.commands.base import Command
from encloze.errors import RecipeError
from encloze.family import family_folders, nearest, summary_of


@dataclass(frozen=True)
class ListResult:
    """Result of ``list``: the families, or the components of one family, each with a one-line description."""

    title: str
    """Name of the listed family; ``families`` if the families themselves are listed."""
    entries: dict[str, str]
    """One-line description of each listed family or component, keyed by its name."""


@dataclass(frozen=True)
class List(Command, name="list"):
    """List the components that recipes select by name.

    Components are grouped into families, such as objectives, formats and indexes. Without ``family``, the families are
    listed; with it, the components of this family.
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("family",)

    family: str | None = None
    """Name of the family whose components are listed, such as objectives, formats or indexes. By default the families
    themselves are listed."""

    def run(self) -> ListResult:
        folders = family_folders()
        if self.family is None:
            return ListResult("families", {name: summary_of(folder / "base.py") for name, folder in folders.items()})
        if self.family not in folders:
            message = f"unknown family {self.family!r}; {nearest(self.family, sorted(folders))}"
            raise RecipeError("the command line", [("family", message)])
        files = sorted(folders[self.family].glob("*.py"))
        members = {file.stem: summary_of(file) for file in files if file.stem != "base" and file.stem[0] != "_"}
        return ListResult(self.family, members)
