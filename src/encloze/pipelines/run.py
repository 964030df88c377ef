"""Run named stages one after the other: each is a verb, in a folder of its own, done once and again when it must."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from encloze import progress, recipe
from encloze.data.formats.base import Format
from encloze.errors import RecipeError, StorageError
from encloze.evaluation.report import Report
from encloze.evaluation.significance import bootstrap
from encloze.family import nearest
from encloze.folders import MANIFEST, hash_tree, read_json, record, write_json
from encloze.pipelines.base import Pipeline, StageSays
from encloze.tasks.base import Task

_KEYS = "stages.json"


@dataclass(frozen=True)
class Ran:
    """A pipeline that is done: the report of its last stage that judges, and what each system brought over the last."""

    folder: Path
    report: Report | None
    steps: list[StageSays]


@dataclass(frozen=True)
class Run(Pipeline, name="run"):
    """Stages with names, each a verb with its settings; what a kill or an error left goes on when it is run again.

    In settings @dataset, @corpus, @model and @split stand for the settings of the pipeline, and @NAME for the folder
    of an earlier stage (@NAME/FILE for something in it). A stage is skipped where it was done from the same settings
    and the same inputs, by their hashes.
    """

    dataset: Format
    """Documents, queries and judgments."""
    output: Path
    """The folder that gets a folder for each stage."""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name, in order: the verb of each stage and its settings, but for output."""
    corpus: Format | None = None
    """The texts to pre-train on; by default the data set's documents."""
    model: str = "minilm"
    """What stages call @model: where training starts."""
    split: str = "test"
    """What stages call @split: the part of the queries to judge on."""

    def __post_init__(self) -> None:
        faults = [fault for name in self.stages for fault in self._faults(name)]
        if not self.stages:
            faults.append(("stages", "is empty: name a recipe that has some, as in encloze run tiny"))
        if faults:
            raise RecipeError("the recipe", faults)

    def run(self) -> Ran:
        self._prepare()
        kept, report = self.output / _KEYS, None
        for number, name in enumerate(self.stages, 1):
            keys, key, folder = read_json(kept), self._key(name), self.output / name
            known = keys.get(name) == key
            if known and (folder / MANIFEST).is_file():
                progress.note(f"Stage {number} of {len(self.stages)}, {name}, is done already")
                report = self._judged(name, folder) or report
                continue
            progress.note(f"Stage {number} of {len(self.stages)}: {name}")
            write_json(kept, keys | {name: key})
            found = self._go_on(self._task(name), known).run()
            report = found if isinstance(found, Report) else report
        settings = recipe.dump(self, {"verb": self.name})
        record(self.output, settings, {"dataset": self.dataset.place(), "model": self.model})
        return Ran(self.output, report, _steps(report) if report else [])

    def _prepare(self) -> None:
        if self.output.exists() and not (self.output / _KEYS).is_file() and any(self.output.iterdir()):
            raise StorageError(f"{self.output} holds something else than a pipeline's stages. Choose another --output")
        self.output.mkdir(parents=True, exist_ok=True)
        if not (self.output / _KEYS).is_file():
            write_json(self.output / _KEYS, {})

    def _go_on(self, task: Any, known: bool) -> Any:
        """The task, going on with what it left unfinished if that was of the same settings and inputs; else anew."""
        unfinished = task.output.with_name(f"{task.output.name}.unfinished").exists()
        resumes = any(setting.name == "resume" for setting in dataclasses.fields(task))
        if known and unfinished and resumes:
            return dataclasses.replace(task, resume=True, overwrite=False)
        return dataclasses.replace(task, overwrite=True)

    def _task(self, name: str) -> Any:
        settings = dict(self.stages[name])
        kind = Task.member(settings.pop("verb"))
        tree = {**self._resolved(settings), "output": str(self.output / name)}
        return recipe.build(kind, tree, source=f"the stage {name}")

    def _faults(self, name: str) -> list[tuple[str, str]]:
        """What is wrong with a stage, by path."""
        at, settings = f"stages.{name}", self.stages[name]
        if not isinstance(settings, dict) or "verb" not in settings:
            return [(at, "has no verb: write name: {verb: pretrain, ...}")]
        if settings["verb"] not in Task.members():
            return [
                (f"{at}.verb", f"there is no verb {settings['verb']!r}; {nearest(settings['verb'], Task.members())}")
            ]
        if not name.replace("-", "").replace("_", "").isalnum() or name in self._own():
            return [(at, "a stage's name is letters, digits, - and _, and none of dataset, corpus, model, split")]
        earlier = list(self.stages)[: list(self.stages).index(name)]
        unknown = [word for word in _references(settings) if word not in (*self._own(), *earlier)]
        if unknown:
            return [(at, f"@{word} is no earlier stage; {nearest(word, [*self._own(), *earlier])}") for word in unknown]
        try:
            self._task(name)
        except RecipeError as error:
            return [(f"{at}.{path}".rstrip("."), message) for path, message in error.faults]
        return []

    def _own(self) -> dict[str, str]:
        """What references to the pipeline's own settings stand for."""
        corpus = (self.corpus or self.dataset).place()
        return {"dataset": str(self.dataset.place()), "corpus": str(corpus), "model": self.model, "split": self.split}

    def _resolved(self, value: Any) -> Any:
        """Settings with what their references stand for."""
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._resolved(item) for item in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        word, _, rest = value[1:].partition("/")
        place = self._own().get(word) or str(self.output / word)
        return f"{place}/{rest}" if rest else place

    def _key(self, name: str) -> str:
        """Changes with a stage's settings, with the stages it is made from, and with the files that it names."""
        settings = self.stages[name]
        stages = [word for word in _references(settings) if word in self.stages]
        files = [text for text in _texts(self._resolved(settings)) if not _is_inside(Path(text), self.output)]
        hashes = {text: hash_tree(Path(text)) for text in files if Path(text).exists()}
        parts = [settings, self._own(), {stage: self._key(stage) for stage in stages}, hashes]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _judged(self, name: str, folder: Path) -> Report | None:
        return Report.load(folder) if self.stages[name]["verb"] == "evaluate" else None


def _steps(report: Report) -> list[StageSays]:
    """What each system brought over the one before it in the report."""
    values = [(system.name, system.values[report.measures[0]]) for system in report.systems]
    return [
        StageSays(f"{after}, against {before}", bootstrap(later - earlier, seed=report.seed))
        for (before, earlier), (after, later) in pairwise(values)
    ]


def _texts(value: Any) -> list[str]:
    """All texts in settings."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _references(value: Any) -> list[str]:
    return [text[1:].partition("/")[0] for text in _texts(value) if text.startswith("@")]


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
