"""List the members of a family: objectives, indexes, formats, systems ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.commands.base import Command
from encloze.errors import RecipeError
from encloze.family import family_folders, nearest, summary_of


@dataclass(frozen=True)
class Listing:
    """Names with a sentence each."""

    title: str
    entries: dict[str, str]


@dataclass(frozen=True)
class List(Command, name="list"):
    """What can stand where a recipe chooses a part by name."""

    words: ClassVar[tuple[str, ...]] = ("family",)

    family: str | None = None
    """A family's folder: objectives, formats, indexes ...; all families where none is given."""

    def run(self) -> Listing:
        folders = family_folders()
        if self.family is None:
            return Listing("families", {name: summary_of(folder / "base.py") for name, folder in folders.items()})
        if self.family not in folders:
            message = f"there is no family {self.family!r}; {nearest(self.family, sorted(folders))}"
            raise RecipeError("the command line", [("family", message)])
        files = sorted(folders[self.family].glob("*.py"))
        members = {file.stem: summary_of(file) for file in files if file.stem != "base" and file.stem[0] != "_"}
        return Listing(self.family, members)
