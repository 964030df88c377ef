"""Read the queries, judgments and documents of the data sets of a result, to show them in a report."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Document, Judgments
from encloze.errors import EnclozeError
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.reporting.result_folders import ResultFolder
from encloze.settings import Settings
from encloze.storage.provenance import describe_input


@dataclass(frozen=True)
class DatasetTexts:
    """Queries, judgments and documents of a data set. If they cannot be read, all are empty, and ``reason`` is set."""

    queries: dict[str, str] = field(default_factory=dict)
    """Text of each query, keyed by the id of the query."""
    judgments: Judgments = field(default_factory=dict)
    corpus: Corpus | None = None
    reason: str = ""
    """Reason why the texts cannot be read; empty if they were read or not requested."""

    def document(self, id_: str) -> Document | None:
        """Return a document by its id, or None if the corpus has no such document."""
        if self.corpus is None or id_ not in self.corpus.number_of:
            return None
        return self.corpus[self.corpus.number_of[id_]]


@dataclass(frozen=True)
class _DatasetSettings(Settings):
    """The settings ``dataset`` and ``benchmark`` of a recipe, which specify its data sets."""

    dataset: tuple[Format, ...] = ()
    """Data sets that the recipe specifies by a path, or by a format and its settings."""
    benchmark: tuple[Benchmark, ...] = ()
    """Published benchmarks that the recipe specifies."""


def read_texts(result: ResultFolder) -> list[DatasetTexts]:
    """Return the queries, judgments and documents of each data set of a result, in the order of the result's recipe.

    Args:
        result: The result folder of a comparison or an evaluation.
    """
    settings = [
        (setting, entry)
        for setting in ("dataset", "benchmark")
        if (value := result.tree.get(setting))
        for entry in (value if isinstance(value, list) else [value])
    ]
    return [
        _read_dataset(setting, entry, result, number)
        for number, (setting, entry) in enumerate(settings or [("dataset", None)])
    ]


def _read_dataset(setting: str, entry: Any, result: ResultFolder, number: int) -> DatasetTexts:
    if reason := _changed_input(result, number):
        return DatasetTexts(reason=reason)
    folder = result.working_folder
    try:
        with contextlib.chdir(folder) if folder.is_dir() else contextlib.nullcontext():
            source = f"{result.name}/recipe.yaml"
            settings: _DatasetSettings = recipe.build(_DatasetSettings, {setting: [entry]}, source=source)
            splits = [(one, str(result.tree.get("split", "test"))) for one in settings.dataset]
            splits += [(one.format(), one.split()) for one in settings.benchmark]
            (dataset,) = (DatasetSplit(format_, split) for format_, split in splits)
            queries = {query.id: query.text for query in dataset.queries}
            return DatasetTexts(queries, dataset.judgments, dataset.corpus)
    except EnclozeError as error:
        return DatasetTexts(reason=" ".join(str(error).split()))


def _changed_input(result: ResultFolder, number: int) -> str:
    """Return a message if a file or folder of data set ``number`` has changed since the result was written.

    The message names the first such file or folder, and says whether it was changed or deleted. If there is none, the
    message is empty.
    """
    for name, recorded in result.inputs.items():
        if name.partition(".")[0] in ("dataset", f"dataset[{number}]") and "path" in recorded:
            if not Path(recorded["path"]).exists():
                return f"{recorded['path']} no longer exists"
            if describe_input(recorded["path"]) != recorded:
                return f"{recorded['path']} has changed since {result.name} was written"
    return ""
