"""Run a pipeline: named stages in order, each a command with its own folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands._stage_keys import path_key, references, result_key, values_of
from encloze.commands.base import Command, StageEffect, get_command
from encloze.commands.report import MakeReport
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, MissingExtraError, RecipeError, StorageError
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report
from encloze.family import nearest
from encloze.settings import plain
from encloze.storage.manifest import check_manifest
from encloze.storage.names import MANIFEST
from encloze.storage.output_lock import remove_leftovers
from encloze.storage.provenance import write_provenance
from encloze.storage.run_state import RunState
from encloze.storage.stage_record import RECORD_FILE, StageRecord

_REPORT_FOLDER = "page"
_NOT_STAGES = ("demo", "rerun", "run")  # they run other commands
_SPLIT_SETTINGS = ("split", "tune_on")


@dataclass(frozen=True)
class PipelineResult:
    """Result of ``run``: the last evaluation, and the score difference between consecutive systems in its table."""

    folder: Path
    report: Report | ComparisonTable | None
    """Result of the last stage with the command evaluate or compare; None if there is no such stage."""
    effects: list[StageEffect]
    """Score difference between each system and the system listed before it in the report."""
    page: Path | None = None
    """Report page of all stages; None if it was not requested, or if the packages that it requires are missing."""


@dataclass(frozen=True)
class Run(Command, name="run"):
    """Run the stages of a pipeline in order. An interrupted or failed pipeline resumes when it is run again.

    In the settings of a stage, @dataset, @corpus, @model, @split and @keep_only_gains refer to the settings of the
    pipeline. @NAME refers to the folder of the earlier stage NAME, and @NAME/FILE to a file in that folder. A finished
    stage with the same settings and inputs is skipped.

    Example:
        >>> stages = {
        ...     "negatives": {"verb": "mine", "dataset": "@dataset"},
        ...     "finetuned": {"verb": "finetune", "dataset": "@dataset", "model": "@model", "negatives": "@negatives"},
        ...     "evaluation": {"verb": "evaluate", "dataset": "@dataset", "systems": ["@model", "@finetuned"]},
        ... }
        >>> result = Run(dataset="my_data", stages=stages, output="pipeline").run()
        >>> result.report.to_pandas()
    """

    dataset: Format
    """Data set with documents, queries and judgments."""
    output: Path
    """Folder of the pipeline. Each stage writes its results to a folder inside it."""
    stages: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """Stages by name, in order. Each stage has a verb (the name of its command) and the settings of this command,
    except output. To remove a stage of a recipe, set it to null."""
    corpus: Format | None = None
    """Texts for pre-training; by default the documents of the data set. Stages refer to them as @corpus."""
    model: str = "minilm"
    """Model that training starts from; stages refer to it as @model."""
    split: str = "test"
    """Split on which systems are evaluated; stages refer to it as @split."""
    keep_only_gains: bool = False
    """Whether to leave out re-rankers that do not improve nDCG@10 significantly on dev or validation. Stages refer to
    this setting as @keep_only_gains."""
    report: bool = True
    """Whether to write a report page of all stages."""

    def __post_init__(self) -> None:
        faults = [fault for name in self._enabled_stages for fault in self._faults(name)]
        if not self._enabled_stages:
            faults.append(("stages", "is empty: name a recipe that has stages, as in encloze run tiny"))
        if faults:
            raise RecipeError("the recipe", faults)

    @property
    def _enabled_stages(self) -> dict[str, dict[str, Any]]:
        return {name: settings for name, settings in self.stages.items() if settings is not None}

    @locks_output
    def run(self) -> PipelineResult:
        """Run the stages that are not finished, and return the result of the pipeline."""
        self._prepare()
        record, report = StageRecord(self.output / RECORD_FILE), None
        keys, hashes = dict[str, str](), dict[Path, str]()
        for number, name in enumerate(self._enabled_stages, 1):
            # The key depends on the folders of earlier stages, so it is computed after they are finished.
            stage = self.build_stage(name)
            dependencies = {other: keys[other] for other in references(self._enabled_stages[name]) if other in keys}
            keys[name] = result_key(stage, dependencies, self.output, hashes)
            report = self._run_stage(number, name, stage, keys[name], record) or report
        settings = recipe.dump(self, {"verb": self.name})
        write_provenance(self.output, settings, {**self.dataset.inputs("dataset"), "model": self.model})
        page = self._write_page() if self.report else None
        return PipelineResult(self.output, report, _effects(report) if report else [], page)

    def build_stage(self, name: str) -> Any:
        """Return the command of a stage, with all references resolved."""
        settings = dict(self._enabled_stages[name])
        kind = get_command(settings.pop("verb"))
        tree = {**self.resolve(settings), "output": str(self.output.resolve() / name)}
        return recipe.build(kind, tree, source=f"the stage {name}")

    def resolve(self, value: Any) -> Any:
        """Return settings with each reference (such as ``@dataset`` or ``@STAGE/FILE``) replaced by its value."""
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.resolve(item) for item in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        name, _, file = value[1:].partition("/")
        locations = {"dataset": self.dataset.location(), "corpus": (self.corpus or self.dataset).location()}
        if file and name in locations:
            return f"{locations[name]}/{file}"
        pipeline_settings = self._pipeline_settings()
        resolved = pipeline_settings[name] if name in pipeline_settings else str(self.output.resolve() / name)
        return f"{resolved}/{file}" if file else resolved

    def _run_stage(
        self, number: int, name: str, stage: Any, key: str, record: StageRecord
    ) -> Report | ComparisonTable | None:
        """Run a stage, resume it, or skip it if it is finished.

        Returns the stage's result if its command is evaluate or compare, else None.
        """
        folder, state = self.output / name, RunState(self.output / name)
        remove_leftovers(folder)  # of a killed run; the command of a finished stage is not called again
        attempt = f"{key} {path_key(stage)}"
        if record.started.get(name) == attempt and record.has_new_output(name, folder):
            # An earlier run was killed after the stage was complete and before that was recorded.
            state.delete()
            record.finish(name, key)
        if record.done.get(name) == key and _is_intact(folder):
            progress.note(f"Stage {number} of {len(self._enabled_stages)}, {name}, is already finished")
            return self._load_evaluation(name)
        progress.note(f"Stage {number} of {len(self._enabled_stages)}: {name}")
        if record.started.get(name) == attempt and _can_resume(stage):
            stage = dataclasses.replace(stage, resume=True)
        else:
            state.delete()
            record.start(name, attempt, folder)
        # An earlier result is kept until the new one replaces it.
        result = dataclasses.replace(stage, overwrite=True).run()
        record.finish(name, key)
        return result if isinstance(result, (Report, ComparisonTable)) else None

    def _prepare(self) -> None:
        """Check that every split that a stage reads has judgments. Create the output folder of the pipeline."""
        for split in self._splits():  # the first stage that reads a split may come hours later
            _ = DatasetSplit(self.dataset, split).judgments
        files = list(self.output.iterdir()) if self.output.exists() else []
        if not (self.output / RECORD_FILE).is_file() and any(file.name != f".{RECORD_FILE}" for file in files):
            raise StorageError(
                f"{self.output} is not empty and is not the output of a pipeline. Choose another --output"
            )
        self.output.mkdir(parents=True, exist_ok=True)

    def _write_page(self) -> Path | None:
        """Write the report page of all stages. Return None if a package that the page requires is not installed."""
        title, page = self.output.resolve().name, self.output / _REPORT_FOLDER
        try:
            return MakeReport((self.output,), page, title=title, model_cards=True, overwrite=True).run().page
        except MissingExtraError as error:
            progress.note(
                f"No report page was written: {error}. Write it later with: encloze report {self.output} "
                f"--output {page} --model_cards"
            )
            return None

    def _faults(self, name: str) -> list[tuple[str, str]]:
        """Return each error in the settings of a stage: the path of the setting in the recipe, and a message."""
        path, settings = f"stages.{name}", self._enabled_stages[name]
        if not isinstance(settings, dict) or "verb" not in settings:
            return [(path, "has no verb: write name: {verb: pretrain, ...}")]
        commands = [command for command in Command.members() if command not in _NOT_STAGES]
        if settings["verb"] not in commands:
            return [(f"{path}.verb", f"unknown command {settings['verb']!r}; {nearest(settings['verb'], commands)}")]
        reserved = [*self._pipeline_settings(), _REPORT_FOLDER]
        if not name.replace("-", "").replace("_", "").isalnum() or name in reserved:
            return [(path, f"a stage name has only letters, digits, - and _, and is none of {', '.join(reserved)}")]
        earlier = list(self._enabled_stages)[: list(self._enabled_stages).index(name)]
        known = [*self._pipeline_settings(), *earlier]
        unknown = [reference for reference in references(settings) if reference not in known]
        if unknown:
            return [(path, f"@{reference} is no earlier stage; {nearest(reference, known)}") for reference in unknown]
        try:
            self.build_stage(name)
        except RecipeError as error:
            return [(f"{path}.{inner}".rstrip("."), message) for inner, message in error.faults]
        return []

    def _splits(self) -> list[str]:
        """Return the names of the splits that stages read from the data set of the pipeline."""
        stages = (
            self.build_stage(name)
            for name, settings in self._enabled_stages.items()
            if settings.get("dataset") in ("@dataset", ["@dataset"])
        )
        return list(dict.fromkeys(split for stage in stages for split in values_of(plain(stage), _SPLIT_SETTINGS)))

    def _pipeline_settings(self) -> dict[str, Any]:
        """Return the values that stages can refer to, keyed by name: ``dataset`` is the value of ``@dataset``."""
        corpus = self.corpus or self.dataset
        own = {name: getattr(self, name) for name in ("model", "split", "keep_only_gains")}
        return {"dataset": plain(self.dataset), "corpus": plain(corpus), **own}

    def _load_evaluation(self, name: str) -> Report | ComparisonTable | None:
        """Return the saved result of a finished evaluate or compare stage; None for stages of other commands."""
        verb, folder = self._enabled_stages[name]["verb"], self.output / name
        if verb == "evaluate":
            return Report.load(folder)
        return ComparisonTable.load(folder) if verb == "compare" else None


def _effects(report: Report | ComparisonTable) -> list[StageEffect]:
    """Return each system's score minus that of the system listed before it in the report, averaged over data sets."""
    table = ComparisonTable.from_report(report) if isinstance(report, Report) else report
    values = [
        (system.name, [table.values(report, system, table.measure) for report in table.reports])
        for system in table.systems
    ]
    return [
        StageEffect.from_estimate(f"{name} compared with {baseline}", estimate(system_values, baseline_values))
        for (baseline, baseline_values), (name, system_values) in pairwise(values)
    ]


def _is_intact(folder: Path) -> bool:
    """Return whether a stage has a complete result. Warn if it is damaged; the stage then runs again."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        check_manifest(folder)
    except CheckpointError as error:
        progress.warn(f"{error}. The stage runs again")
        return False
    return True


def _can_resume(stage: Any) -> bool:
    """Return whether a stage can be resumed: its command has the setting ``resume`` and left a checkpoint folder."""
    has_setting = any(setting.name == "resume" for setting in dataclasses.fields(stage))
    return has_setting and (stage.output.with_name(f"{stage.output.name}.checkpoint") / "recipe.json").is_file()
