"""One way of training under several seeds, judged as one system whose seeds are random too."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.errors import RecipeError
from encloze.systems.base import Ready, System, inputs_of


@dataclass(frozen=True)
class Seeds(System, name="seeds"):
    """Each is ranked by itself; a comparison takes their mean, and its interval takes in that seeds differ."""

    systems: tuple[System, ...]
    """Folders that differ in their seed alone, two or more."""

    def __post_init__(self) -> None:
        if len(self.systems) < 2:
            raise ValueError("systems: seeds are two or more; one alone says nothing of how they differ")

    def inputs(self) -> dict[str, Path | str]:
        return inputs_of(self.systems, "systems")

    @property
    def tuned_on(self) -> str | None:
        return next((system.tuned_on for system in self.systems if system.tuned_on), None)

    def parts(self) -> tuple[System, ...]:
        return tuple(part for system in self.systems for part in system.parts())

    def label(self) -> str:
        return f"{self.systems[0].title or self.systems[0].label()} ({len(self.parts())} seeds)"

    def check(self) -> None:
        for system in self.systems:
            system.check()

    def check_for(self, dataset: DatasetSplit) -> None:
        for system in self.systems:
            system.check_for(dataset)

    def ready(self, dataset: DatasetSplit) -> AbstractContextManager[Ready]:
        raise RecipeError("the recipe", [("systems", "seeds stand for several systems: name one of them here")])
