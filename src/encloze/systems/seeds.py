"""Models trained with several seeds of one configuration, evaluated as one system."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.errors import RecipeError
from encloze.systems.base import PreparedSystem, System, inputs_of


@dataclass(frozen=True)
class Seeds(System, name="seeds"):
    """Systems whose models were trained with several seeds of one configuration, evaluated as one system.

    Each seed is evaluated separately. A comparison uses the mean of the seeds, and its confidence interval includes the
    variance between seeds.
    """

    systems: tuple[System, ...]
    """Two or more systems whose models differ only in the training seed."""

    def __post_init__(self) -> None:
        if len(self.systems) < 2:
            raise ValueError("systems must list two or more seeds: one seed has no variance between seeds")

    def inputs(self) -> dict[str, Path | str]:
        return inputs_of(self.systems, "systems")

    @property
    def tuned_on(self) -> str | None:
        return next((system.tuned_on for system in self.systems if system.tuned_on), None)

    def parts(self) -> tuple[System, ...]:
        return tuple(part for system in self.systems for part in system.parts())

    def default_title(self) -> str:
        return f"{self.systems[0].title or self.systems[0].default_title()} ({len(self.parts())} seeds)"

    def check_files(self) -> None:
        for system in self.systems:
            system.check_files()

    def check_dataset(self, dataset: DatasetSplit) -> None:
        for system in self.systems:
            system.check_dataset(dataset)

    def prepare(self, dataset: DatasetSplit) -> AbstractContextManager[PreparedSystem]:
        raise RecipeError(
            "the recipe",
            [("systems", "a group of seeds cannot be used here. Name the system of a single seed")],
        )
