"""Run named stages one after the other: each is a verb, in a folder of its own, done once and again when it must."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from encloze import progress, recipe
from encloze.commands.base import Command, StageSays, command
from encloze.commands.report import MakeReport
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import MissingExtraError, RecipeError, StorageError
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report
from encloze.family import nearest
from encloze.settings import plain
from encloze.storage.hashes import hash_file, hash_tree
from encloze.storage.json_files import read_json, write_json
from encloze.storage.names import MANIFEST
from encloze.storage.provenance import write_provenance

_KEYS = "stages.json"
_NOT_STAGES = ("demo", "rerun", "run")  # commands that run other commands, or make nothing
_NOT_TOLD = ("output", "resume", "overwrite")  # they change no result
_SPLITS = ("split", "tune_on")  # settings that name one
_LONGEST_PATH = 250


@dataclass(frozen=True)
class Ran:
    """A pipeline that is done: what its last stage that judges found, and what each system brought over the last."""

    folder: Path
    report: Report | ComparisonTable | None
    steps: list[StageSays]
    page: Path | None = None
    """All stages on one page; None where the packages that draw it are not installed."""


@dataclass(frozen=True)
class Run(Command, name="run"):
    """Stages with names, each a verb with its settings; what a kill or an error left goes on when it is run again.

    In settings @dataset, @corpus, @model and @split stand for the settings of the pipeline, and @NAME for the folder
    of an earlier stage (@NAME/FILE for something in it). A stage is skipped where it was done from the same settings
    and the same inputs, by their hashes.
    """

    dataset: Format
    """Documents, queries and judgments."""
    output: Path
    """The folder that gets a folder for each stage."""
    stages: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """By name, in order: the verb of each stage and its settings, but for output; null leaves a recipe's stage out."""
    corpus: Format | None = None
    """The texts to pre-train on; by default the data set's documents."""
    model: str = "minilm"
    """What stages call @model: where training starts."""
    split: str = "test"
    """What stages call @split: the part of the queries to judge on."""

    def __post_init__(self) -> None:
        faults = [fault for name in self._stages for fault in self._faults(name)]
        if not self._stages:
            faults.append(("stages", "is empty: name a recipe that has some, as in encloze run tiny"))
        if faults:
            raise RecipeError("the recipe", faults)

    @property
    def _stages(self) -> dict[str, dict[str, Any]]:
        return {name: settings for name, settings in self.stages.items() if settings is not None}

    def run(self) -> Ran:
        self._prepare()
        stages, report, keys, hashes = _Record(self.output / _KEYS), None, dict[str, str](), dict[Path, str]()
        for number, name in enumerate(self._stages, 1):
            folder = self.output / name
            # Not before the earlier stages are there: what a folder holds says what a system that names it is.
            key, task = self._key(name, keys, hashes), self._task(name)
            keys[name], begun = key, f"{key} {_place_of(task)}"
            if stages.begun.get(name) == begun and stages.was_made(name, folder):  # and killed just behind it
                shutil.rmtree(folder.with_name(f"{name}.unfinished"), ignore_errors=True)
                stages.finish(name, key)
            if stages.done.get(name) == key and (folder / MANIFEST).is_file():
                progress.note(f"Stage {number} of {len(self._stages)}, {name}, is done already")
                report = self._judged(name, folder) or report
                continue
            progress.note(f"Stage {number} of {len(self._stages)}: {name}")
            if stages.begun.get(name) == begun and _has_unfinished(task):
                task = dataclasses.replace(task, resume=True)
            else:
                shutil.rmtree(folder.with_name(f"{name}.unfinished"), ignore_errors=True)
                stages.begin(name, begun, folder)
            # What an earlier run finished stays until the new result takes its place.
            found = dataclasses.replace(task, overwrite=True).run()
            stages.finish(name, key)
            report = found if isinstance(found, (Report, ComparisonTable)) else report
        settings = recipe.dump(self, {"verb": self.name})
        write_provenance(self.output, settings, {**self.dataset.inputs("dataset"), "model": self.model})
        return Ran(self.output, report, _steps(report) if report else [], self._page())

    def _page(self) -> Path | None:
        """The report of all stages; training does not need the packages that draw it, so they may be missing."""
        title, page = self.output.resolve().name, self.output / "page"
        try:
            return MakeReport((self.output,), page, title=title, cards=True, overwrite=True).run().page
        except MissingExtraError as error:
            progress.note(f"No page was made: {error}. Then: encloze report {self.output} --output {page} --cards")
            return None

    def _prepare(self) -> None:
        for split in self._splits():  # a stage that comes hours later may be the first to read one
            _ = DatasetSplit(self.dataset, split).judgments
        others = (file for file in self.output.iterdir() if file.name != f".{_KEYS}") if self.output.exists() else ()
        if not (self.output / _KEYS).is_file() and any(others):
            raise StorageError(f"{self.output} holds something else than a pipeline's stages. Choose another --output")
        self.output.mkdir(parents=True, exist_ok=True)

    def _task(self, name: str) -> Any:
        settings = dict(self._stages[name])
        kind = command(settings.pop("verb"))
        tree = {**self._resolved(settings), "output": str(self.output.resolve() / name)}
        return recipe.build(kind, tree, source=f"the stage {name}")

    def _faults(self, name: str) -> list[tuple[str, str]]:
        """What is wrong with a stage, by path."""
        at, settings = f"stages.{name}", self._stages[name]
        if not isinstance(settings, dict) or "verb" not in settings:
            return [(at, "has no verb: write name: {verb: pretrain, ...}")]
        known = [name for name in Command.members() if name not in _NOT_STAGES]
        if settings["verb"] not in known:
            return [(f"{at}.verb", f"there is no verb {settings['verb']!r}; {nearest(settings['verb'], known)}")]
        if not name.replace("-", "").replace("_", "").isalnum() or name in (*self._own(), "page"):
            return [(at, "a stage's name is letters, digits, - and _, and none of dataset, corpus, model, split, page")]
        earlier = list(self._stages)[: list(self._stages).index(name)]
        unknown = [word for word in _references(settings) if word not in (*self._own(), *earlier)]
        if unknown:
            return [(at, f"@{word} is no earlier stage; {nearest(word, [*self._own(), *earlier])}") for word in unknown]
        try:
            self._task(name)
        except RecipeError as error:
            return [(f"{at}.{path}".rstrip("."), message) for path, message in error.faults]
        return []

    def _splits(self) -> list[str]:
        """The splits of the pipeline's data set that stages read."""
        own = ("@dataset", ["@dataset"])
        tasks = (self._task(name) for name, settings in self._stages.items() if settings.get("dataset") in own)
        return list(dict.fromkeys(split for task in tasks for split in _named(plain(task), _SPLITS)))

    def _own(self) -> dict[str, Any]:
        """What references to the pipeline's own settings stand for."""
        corpus = self.corpus or self.dataset
        return {"dataset": plain(self.dataset), "corpus": plain(corpus), "model": self.model, "split": self.split}

    def _resolved(self, value: Any) -> Any:
        """Settings with what their references stand for."""
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._resolved(item) for item in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        word, _, rest = value[1:].partition("/")
        places = {"dataset": self.dataset.place(), "corpus": (self.corpus or self.dataset).place()}
        if rest and word in places:
            return f"{places[word]}/{rest}"
        own = self._own()
        place = own[word] if word in own else str(self.output.resolve() / word)
        return f"{place}/{rest}" if rest else place

    def _key(self, name: str, keys: dict[str, str], hashes: dict[Path, str]) -> str:
        """What changes with a stage's settings, with the stages it is made from, and with the files it names.

        ``keys`` are those of earlier stages. Files count by what they hold, wherever they are; ``hashes`` keeps theirs.
        """
        task = self._task(name)
        given = {f: _told(v, self.output, hashes) for f, v in _fields(task) if f not in _NOT_TOLD}
        made_from = {word: keys[word] for word in _references(self._stages[name]) if word in keys}
        parts = [task.name, given, made_from]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _judged(self, name: str, folder: Path) -> Report | ComparisonTable | None:
        command = self._stages[name]["verb"]
        return (
            Report.load(folder)
            if command == "evaluate"
            else ComparisonTable.load(folder)
            if command == "compare"
            else None
        )


def _steps(found: Report | ComparisonTable) -> list[StageSays]:
    """What each system brought over the one before it; where there are several data sets, on their mean."""
    table = ComparisonTable.of(found) if isinstance(found, Report) else found
    values = [
        (one.name, [table.values(report, one, table.measure) for report in table.reports]) for one in table.competitors
    ]
    return [
        StageSays(f"{after}, against {before}", estimate(later, earlier).interval())
        for (before, earlier), (after, later) in pairwise(values)
    ]


def _texts(value: Any) -> list[str]:
    """All texts in settings."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _named(value: Any, names: tuple[str, ...]) -> Iterator[str]:
    """What settings of these names say, wherever they stand."""
    if isinstance(value, dict):
        yield from (item for key, item in value.items() if key in names and isinstance(item, str))
    if isinstance(value, (dict, list)):
        yield from (
            found for item in (value.values() if isinstance(value, dict) else value) for found in _named(item, names)
        )


def _references(value: Any) -> list[str]:
    return [text[1:].partition("/")[0] for text in _texts(value) if text.startswith("@")]


def _told(value: Any, output: Path, hashes: dict[Path, str]) -> Any:
    """A setting as plain values, files and folders by their contents; what lies in ``output`` by its place in there."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = {name: _told(item, output, hashes) for name, item in _fields(value)}
        return {"type": getattr(value, "name", type(value).__name__), **own}
    if isinstance(value, dict):
        return {key: _told(item, output, hashes) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(item, output, hashes) for item in value]
    place = f"{output.resolve()}/"
    if isinstance(value, (Path, str)) and str(value).startswith(place):  # whether it is there yet or not
        return f"@{str(value).removeprefix(place)}"
    path = value if isinstance(value, Path) else _model_folder(value)
    if path is None:
        return value
    if not path.exists():
        return str(path)
    if path not in hashes:
        hashes[path] = hash_tree(path)
    return hashes[path]


def _fields(value: Any) -> list[tuple[str, Any]]:
    return [(setting.name, getattr(value, setting.name)) for setting in dataclasses.fields(value)]


def _place_of(task: Any) -> str:
    """Changes with the places that a task names: what it left unfinished is gone on with where they are the same."""
    return hashlib.sha256(json.dumps(plain(task), sort_keys=True).encode()).hexdigest()[:16]


def _has_unfinished(task: Any) -> bool:
    """Whether a task left something that it can go on with."""
    resumes = any(setting.name == "resume" for setting in dataclasses.fields(task))
    return resumes and bool((task.output.with_name(f"{task.output.name}.unfinished") / "recipe.json").is_file())


def _model_folder(value: Any) -> Path | None:
    """The model folder that a text names, where it does; any other text is no path."""
    if not isinstance(value, str) or not value or len(value) > _LONGEST_PATH or "\n" in value:
        return None
    return Path(value) if (Path(value) / "config.json").is_file() else None


def _manifest_of(folder: Path) -> str:
    """The hash of a folder's manifest, which it gets when it is whole; empty where there is none."""
    file = folder / MANIFEST
    return hash_file(file) if file.is_file() else ""


class _Record:
    """The keys of stages that were begun, and of those that are done; kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        kept = read_json(file) if file.is_file() else {}
        self.begun: dict[str, str] = kept.get("begun", {})
        self.done: dict[str, str] = kept.get("done", {})
        self._before: dict[str, str] = kept.get("before", {})
        self._write()

    def begin(self, name: str, key: str, folder: Path) -> None:
        """The stage's folder may change from now on, so it is done no longer."""
        self.begun[name] = key
        self._before[name] = _manifest_of(folder)
        self.done.pop(name, None)
        self._write()

    def was_made(self, name: str, folder: Path) -> bool:
        """Whether the folder is whole, and another one than when the stage was begun that is not known to be done."""
        return name in self._before and _manifest_of(folder) not in ("", self._before[name])

    def finish(self, name: str, key: str) -> None:
        self.done[name] = key
        self._before.pop(name, None)
        self._write()

    def _write(self) -> None:
        partial = self._file.with_name(f".{self._file.name}")
        write_json(partial, {"begun": self.begun, "done": self.done, "before": self._before})
        partial.replace(self._file)
