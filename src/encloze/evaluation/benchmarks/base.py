"""A benchmark: a published collection, one split of it, and the rules by which its figures are told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from encloze.data.formats.base import Format
from encloze.data.formats.ir_datasets import IrDatasets
from encloze.errors import DataError, RecipeError
from encloze.family import Family


class BenchmarkRules(NamedTuple):
    """How a benchmark's figures are told."""

    measures: tuple[str, ...]
    """The first one first."""
    depth: int = 100
    """How many documents are ranked for a query, at least."""
    ignore_identical_ids: bool = False
    """Whether a document that bears the query's own id counts."""


def check_what_is_judged(dataset: Format | None, split: str, benchmark: Benchmark | None) -> None:
    """Raise ValueError where neither a data set nor a benchmark is named, or both, or a benchmark's split."""
    if (dataset is None) == (benchmark is None):
        raise ValueError("dataset: name one, as in --dataset FOLDER, or a benchmark, as in --benchmark beir/scifact")
    if benchmark and split != "test":
        raise ValueError("split: a benchmark has its own; leave split out, or name its files as a dataset")


@dataclass(frozen=True)
class Benchmark(Family):
    """Called as people call it: ``msmarco-dev``, ``trec-dl-2019``, ``beir/scifact``, ``mteb/NFCorpus``."""

    path: Path | None = None
    """A folder with the collection's published files; without one ir_datasets fetches them."""

    @classmethod
    def chosen(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """A member by its name, with - or _, or one of a group (``beir/scifact``)."""
        word, _, collection = str(type_).partition("/")
        more = {"collection": collection} if collection else {}
        return super().chosen(type_ if type_ is None else word.replace("-", "_"), {**more, **values})

    def in_place(self, settings: Any, **more: Any) -> Any:
        """A verb's settings with its texts and rules, of which those that ask for more stay."""
        rules = self.rules()
        ignore = rules.ignore_identical_ids or settings.ignore_identical_ids
        place = {"benchmark": None, "dataset": self.format(), "split": self.split()}
        try:
            return replace(
                settings, **place, depth=max(settings.depth, rules.depth), ignore_identical_ids=ignore, **more
            )
        except ValueError as error:  # what does not go with its rules
            raise RecipeError("the recipe", [("benchmark", str(error))]) from error

    def format(self) -> Format:
        """Where its texts, queries and judgments are. Raises DataError where the folder lacks some."""
        if self.path is None:
            return self.fetched()
        if not self.path.is_dir():
            raise DataError(f"benchmark.path {self.path} is no folder")
        return self.local(self.path)

    def rules(self) -> BenchmarkRules:
        """By which it is judged."""
        raise NotImplementedError

    def fetched(self) -> Format:
        """Where its texts are when a package fetches them."""
        return IrDatasets(self.published())

    def published(self) -> str:
        """Its id in ir_datasets."""
        raise NotImplementedError

    def local(self, path: Path) -> Format:
        """The same from a folder in the published layout."""
        raise NotImplementedError

    def split(self) -> str:
        """The part of its judgments."""
        return "test"
