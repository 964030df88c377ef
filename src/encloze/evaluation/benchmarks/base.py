"""Interface of benchmarks. A benchmark is a published collection, the split to evaluate, and the evaluation rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from encloze.data.formats.base import Format
from encloze.data.formats.ir_datasets import IrDatasets
from encloze.errors import DataError, RecipeError
from encloze.family import Family


class BenchmarkRules(NamedTuple):
    """Measures that published results on a benchmark report, and the rules by which they are computed."""

    measures: tuple[str, ...]
    """Measures in the spelling of ir-measures, the main one first."""
    depth: int = 100
    """Minimum number of documents that a run must rank per query."""
    ignore_identical_ids: bool = False
    """Whether documents whose id equals the id of the query are removed from the run."""


def check_dataset_or_benchmark(dataset: Format | None, split: str, benchmark: Benchmark | None) -> None:
    """Raise ValueError unless exactly one of ``dataset`` and ``benchmark`` is set.

    Also raise ValueError if ``benchmark`` is set and ``split`` is not ``test``, its default: a benchmark has its own
    split.
    """
    if (dataset is None) == (benchmark is None):
        raise ValueError(
            "set either dataset or benchmark, as in --dataset FOLDER or --benchmark beir/scifact, and not both"
        )
    if benchmark and split != "test":
        raise ValueError("split cannot be combined with benchmark, which has its own split. Remove split")


@dataclass(frozen=True)
class Benchmark(Family):
    """Base class of benchmarks, chosen by names such as ``msmarco-dev``, ``beir/scifact`` or ``mteb/NFCorpus``.

    A subclass implements ``rules``, ``ir_datasets_id`` (or ``remote_format``), ``local_format`` and, if the evaluated
    split is not ``test``, ``split``.

    Example:
        >>> Benchmark.from_name("beir/scifact").rules().measures
        ('nDCG@10', 'R@100')
    """

    path: Path | None = None
    """Folder with the published files of the collection. By default, the collection is downloaded."""

    @classmethod
    def resolve_member(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class and the settings of the benchmark with the name ``type_``.

        Examples of names: ``msmarco-dev`` or ``msmarco_dev``, and ``beir/scifact``.
        """
        word, _, collection = str(type_).partition("/")
        more = {"collection": collection} if collection else {}
        return super().resolve_member(type_ if type_ is None else word.replace("-", "_"), {**more, **values})

    def apply_to(self, settings: Any, **changes: Any) -> Any:
        """Return the settings of a command, changed to use the data set and the rules of this benchmark.

        Args:
            settings: Settings of the command: a dataclass with the fields ``benchmark``, ``dataset``, ``split``,
                ``depth`` and ``ignore_identical_ids``. ``depth`` is raised to that of this benchmark if it is smaller.
            **changes: New values of fields that this method does not set, such as ``measures``.

        Returns:
            The changed settings; their field ``benchmark`` is None.

        Raises:
            RecipeError: A setting cannot be combined with the rules of this benchmark.
            DataError: Files of the benchmark are missing.
        """
        rules = self.rules()
        changes |= {"benchmark": None, "dataset": self.format(), "split": self.split()}
        changes["depth"] = max(settings.depth, rules.depth)
        changes["ignore_identical_ids"] = settings.ignore_identical_ids or rules.ignore_identical_ids
        try:
            return replace(settings, **changes)
        except RecipeError as error:
            faults = [(f"benchmark.{path}" if path else "benchmark", message) for path, message in error.faults]
            raise RecipeError(error.source, faults) from error
        except ValueError as error:
            raise RecipeError("the recipe", [("benchmark", str(error))]) from error

    def format(self) -> Format:
        """Return the data set format by which the benchmark's documents, queries and judgments are read.

        Raises:
            DataError: The setting ``path`` is not a folder, or the folder lacks files.
        """
        if self.path is None:
            return self.remote_format()
        if not self.path.is_dir():
            raise DataError(f"benchmark.path {self.path} is not a folder. Name the folder of the published files")
        return self.local_format(self.path)

    def rules(self) -> BenchmarkRules:
        """Return the measures of this benchmark, and the rules by which they are computed."""
        raise NotImplementedError

    def remote_format(self) -> Format:
        """Return the format by which the collection is downloaded and read. It is used if ``path`` is None."""
        return IrDatasets(self.ir_datasets_id())

    def ir_datasets_id(self) -> str:
        """Return the id of the collection in the catalog of the package ir_datasets."""
        raise NotImplementedError

    def local_format(self, path: Path) -> Format:
        """Return the format of the published files, set to read those in the folder ``path``."""
        raise NotImplementedError

    def split(self) -> str:
        """Return the name of the split that is evaluated."""
        return "test"
