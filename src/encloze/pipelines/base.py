"""A pipeline: a verb that runs other verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from encloze.errors import RecipeError
from encloze.evaluation.significance import Interval
from encloze.family import Family, nearest
from encloze.tasks.base import Task


@dataclass(frozen=True)
class Pipeline(Family):
    """Something encloze can be asked to do, made of tasks."""

    words: ClassVar[tuple[str, ...]] = ()
    """Settings that may stand on the command line without their names, in this order."""

    def run(self) -> Any:
        """Do it; what comes back is data, which the command line shows."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class StageSays:
    """What one stage brought: the difference in a report's first measure, query by query."""

    stage: str
    difference: Interval

    def verdict(self) -> str:
        if self.difference.low > 0:
            return "helped"
        if self.difference.high < 0:
            return "did harm"
        return "made no difference that these queries can show"


def verbs() -> dict[str, type[Family]]:
    """Every verb with the family it belongs to; none is imported for it."""
    return {name: family for family in (Task, Pipeline) for name in family.members()}


def verb(name: str) -> Any:
    """The task or pipeline called ``name``. Raises RecipeError."""
    known = verbs()
    if name not in known:
        raise RecipeError("the command line", [("", f"there is no verb {name!r}; {nearest(name, sorted(known))}")])
    return known[name].member(name)
