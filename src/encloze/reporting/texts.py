"""The texts that a result is about: queries, judgments and documents of the data set that its recipe names."""

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
from encloze.reporting.made import Made
from encloze.settings import Settings
from encloze.storage.provenance import describe_input


@dataclass(frozen=True)
class Texts:
    """What can still be read of a data set; where it cannot be, ``missing`` says why."""

    queries: dict[str, str] = field(default_factory=dict)
    judgments: Judgments = field(default_factory=dict)
    corpus: Corpus | None = None
    missing: str = ""

    def document(self, id_: str) -> Document | None:
        """The document of this id; None where it is not known, as that of passages judged as one."""
        if self.corpus is None or id_ not in self.corpus.number_of:
            return None
        return self.corpus[self.corpus.number_of[id_]]


def _changed(made: Made, number: int) -> str:
    """What of a data set is not what it was when the result was made; nothing where all is."""
    for name, then in made.inputs.items():
        if name.partition(".")[0] in ("dataset", f"dataset[{number}]") and "path" in then:
            if not Path(then["path"]).exists():
                return f"{then['path']} is not there any more"
            if describe_input(then["path"]) != then:
                return f"{then['path']} is not what it was when {made.name} was made"
    return ""


@dataclass(frozen=True)
class _Named(Settings):
    """The part of a recipe that names data sets."""

    dataset: tuple[Format, ...] = ()
    """Named by their places."""
    benchmark: tuple[Benchmark, ...] = ()
    """Named by what they are called."""


def texts_of(made: Made) -> list[Texts]:
    """The texts of each data set of a result, in the order of its recipe."""
    named = [(setting, made.tree.get(setting)) for setting in ("dataset", "benchmark")]
    several = [(setting, given if isinstance(given, list) else [given]) for setting, given in named if given]
    each = [(setting, one) for setting, some in several for one in some]
    return [_texts(setting, one, made, number) for number, (setting, one) in enumerate(each or [("dataset", None)])]


def _texts(setting: str, given: Any, made: Made, number: int) -> Texts:
    place = made.working_folder
    if changed := _changed(made, number):
        return Texts(missing=changed)
    try:
        with contextlib.chdir(place) if place.is_dir() else contextlib.nullcontext():
            named: _Named = recipe.build(_Named, {setting: [given]}, source=f"{made.name}/recipe.yaml")
            parts = [(one, str(made.tree.get("split", "test"))) for one in named.dataset]
            parts += [(one.format(), one.split()) for one in named.benchmark]
            (dataset,) = (DatasetSplit(format_, split) for format_, split in parts)
            queries = {query.id: query.text for query in dataset.queries}
            return Texts(queries, dataset.judgments, dataset.corpus)
    except EnclozeError as error:
        return Texts(missing=" ".join(str(error).split()))
