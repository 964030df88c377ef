"""Pre-train, fine-tune, index, evaluate and search on Python documentation."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from encloze import progress, recipe
from encloze.commands._demo_training import build_finetune, build_pretrain, measure_speed
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, StageEffect
from encloze.commands.evaluate import Evaluate
from encloze.commands.index import Index
from encloze.commands.report import MakeReport
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.python_docs import PythonDocs
from encloze.data.records import Hit
from encloze.errors import StorageError, importable
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report
from encloze.retrieval.retriever import Retriever
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.settings import Seed, plain
from encloze.storage.json_files import explain_damage, read_json, write_json
from encloze.storage.names import MANIFEST
from encloze.storage.ownership import check_removable
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System
from encloze.systems.bm25 import Bm25 as Bm25System
from encloze.systems.index import Index as IndexSystem

_QUESTIONS = (
    "solve a sparse system of linear equations",
    "test whether two samples come from the same distribution",
    "copy a whole directory tree",
)
_SETTINGS_FILE, _PLAN_FILE = "demo.json", "plan.json"
_OWN_FILES = (_SETTINGS_FILE, _PLAN_FILE, "recipe.yaml", "versions.json", "inputs.json")
_MIN_PRETRAINING_STEPS, _MIN_FINETUNING_STEPS = 30, 15
_STANDARD_DEVIATION = 0.3  # of the paired differences of nDCG@10 between MiniLM and a fine-tuned model, as measured
_MIN_EFFECT = 0.02  # gain of fine-tuning in nDCG@10 that a run must be able to detect
_BATCH_EFFICIENCY = 0.9  # a full step relative to the scaled duration of a measured step, which has fewer texts
_FREEZE_EFFICIENCY = 0.85  # two fifths of the pre-training steps train only the decoder


@dataclass(frozen=True)
class Size:
    """Amount of text that the demo uses. The number of training steps is the same at all sizes."""

    name: str
    packages: tuple[str, ...]
    """Packages whose docstrings are used."""
    max_pretraining_tokens: int
    max_query_tokens: int
    max_document_tokens: int
    other_seconds: float
    """Seconds that the demo takes in addition to training, on the machine of ``REFERENCE_SPEED``."""


SIZES = (
    Size("full", ("stdlib", "numpy", "scipy", "torch"), 128, 48, 128, other_seconds=225),
    Size("reduced", ("stdlib", "numpy", "scipy"), 64, 48, 96, other_seconds=140),
    Size("minimal", ("stdlib", "numpy"), 32, 32, 64, other_seconds=90),
)
"""Sizes from the largest to the smallest."""


@dataclass(frozen=True)
class Speed:
    """Seconds per training step at the demo size "full", estimated from steps with fewer texts."""

    pretraining: float
    finetuning: float


class _Plan(TypedDict):
    size: str
    speed: Speed


REFERENCE_SPEED = Speed(pretraining=3.65, finetuning=1.94)
"""Two idle cores with bfloat16, on which ``Size.other_seconds`` was measured."""


@dataclass(frozen=True)
class DemoExample:
    """The top-ranked documents for one question, by the initial model and by the trained model."""

    question: str
    before: list[Hit]
    after: list[Hit]


@dataclass(frozen=True)
class DemoResult:
    """Result of ``demo``."""

    report: Report
    effects: list[StageEffect]
    examples: list[DemoExample]
    folder: Path
    page: Path
    minutes: float
    """Duration of the demo in minutes."""
    backbone: str


@dataclass(frozen=True)
class Demo(Command, name="demo"):
    """Pre-train, fine-tune, index, evaluate and search on Python documentation; no download is necessary.

    The queries are summary lines of docstrings, and the documents are the rest of the docstrings. Evaluation uses
    packages that are excluded from fine-tuning. The number of training steps is fixed. The demo first measures the
    speed of the machine, prints how long it will take, and on slow machines uses fewer and shorter texts.

    Example:
        >>> result = Demo(size="reduced", output="demo").run()
        >>> result.report.to_pandas()
    """

    output: Path = Path("demo")
    """Folder for models, indexes and the report."""
    pretraining_steps: int = 40
    """Number of RetroMAE steps, of 32 texts each."""
    finetuning_steps: int = 25
    """Number of fine-tuning steps, of 32 queries each, for the pre-trained model and for the initial one."""
    size: Literal["auto", "full", "reduced", "minimal"] = "auto"
    """Amount of text. auto selects the largest size whose predicted duration is at most max_minutes."""
    max_minutes: float = 12.0
    """Target duration for the size auto, in minutes. Two idle cores take about 7 minutes at the full size."""
    backbone: Literal["minilm", "scratch"] = "minilm"
    """Initial model: all-MiniLM-L6-v2, or random weights with a new tokenizer."""
    seed: Seed = 0
    """Random seed."""
    resume: bool = False
    """Whether to continue an interrupted demo, keeping its finished models and indexes."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        for name in ("pretraining_steps", "finetuning_steps", "max_minutes"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @locks_output
    def run(self) -> DemoResult:
        """Run all steps of the demo. Return the evaluation report and example searches."""
        for package in ("torch", "jinja2", "matplotlib"):  # the last two are required for the report page at the end
            importable(package, "demo")
        start_time = time.monotonic()
        self._prepare_output()
        progress.note("Step 1 of 5: measure the speed of this machine")
        size = self._choose_size()
        docs = PythonDocs(size.packages)
        held_out = PythonDocs(size.packages, subset="held_out")
        self._describe_texts(docs, held_out)
        progress.note("Step 2 of 5: train")
        self._train(docs, size)
        progress.note("Step 3 of 5: index the held-out packages")
        self._build_indexes(held_out)
        progress.note("Step 4 of 5: evaluate")
        report = self._evaluate(held_out)
        settings = recipe.dump(replace(self, resume=False), {"verb": self.name})
        write_provenance(self.output, settings, {"corpus": docs.location()})
        progress.note("Step 5 of 5: search, and write the report page")
        examples = list(self._search_examples())
        page_folder = self.output / "page"
        page = MakeReport((self.output,), page_folder, title="encloze demo", model_cards=True, overwrite=True).run()
        minutes = (time.monotonic() - start_time) / 60
        return DemoResult(report, self._effects(report), examples, self.output, page.page, minutes, self.backbone)

    def forecast(self, size: Size, speed: Speed) -> float:
        """Return the expected duration of the demo in minutes, for an amount of text and a speed of the machine."""
        full = SIZES[0]
        pretraining_ratio = size.max_pretraining_tokens / full.max_pretraining_tokens
        finetuning_ratio = (size.max_document_tokens + size.max_query_tokens / 2) / (
            full.max_document_tokens + full.max_query_tokens / 2
        )
        pretraining = self.pretraining_steps * speed.pretraining * pretraining_ratio * _FREEZE_EFFICIENCY
        finetuning = 2 * self.finetuning_steps * speed.finetuning * finetuning_ratio
        slowdown = speed.pretraining / REFERENCE_SPEED.pretraining
        return ((pretraining + finetuning) * _BATCH_EFFICIENCY + size.other_seconds * slowdown) / 60

    def size_for(self, speed: Speed) -> Size:
        """Return the size of the settings. "auto" is the largest size with a forecast of at most ``max_minutes``.

        If no size has such a forecast, the smallest size is returned.
        """
        if self.size != "auto":
            return next(size for size in SIZES if size.name == self.size)
        return next((size for size in SIZES if self.forecast(size, speed) <= self.max_minutes), SIZES[-1])

    def limitations(self, num_queries: int) -> list[str]:
        """Return the reasons why the demo has too few training steps or test queries to show effects of training.

        The list is empty if the demo is large enough.
        """
        limitations = []
        detectable = 2.8 * _STANDARD_DEVIATION / max(num_queries, 1) ** 0.5  # power 80 %, level 5 %
        if detectable > _MIN_EFFECT:
            limitations.append(
                f"{num_queries} test queries cannot detect differences below about {detectable:.2f} nDCG@10"
            )
        if self.pretraining_steps < _MIN_PRETRAINING_STEPS:
            limitations.append(f"{self.pretraining_steps} steps are too few to show an effect of pre-training")
        if self.finetuning_steps < _MIN_FINETUNING_STEPS:
            limitations.append(f"{self.finetuning_steps} steps are too few to show an effect of fine-tuning")
        return limitations

    def _prepare_output(self) -> None:
        """Create the output folder, or with ``resume`` check that it was written with the same settings."""
        settings = plain(self) | {"resume": False, "overwrite": False, "output": ""}
        saved = self.output / _SETTINGS_FILE
        if self.output.exists() and not self.output.is_dir():
            raise StorageError(f"{self.output} is a file. Choose another --output")
        if self.output.exists() and any(self.output.iterdir()) and not saved.is_file():
            raise StorageError(f"{self.output} is not empty and was not written by a demo. Choose another --output")
        if self.output.exists() and self.overwrite:
            check_removable(self.output, _OWN_FILES)
            shutil.rmtree(self.output)
        elif self.output.exists() and not self.resume:
            raise StorageError(f"{self.output} already exists. Resume it with --resume, or replace it with --overwrite")
        elif saved.is_file() and read_json(saved) != settings:
            raise StorageError(
                f"{self.output} was started with other settings: {read_json(saved)}. Use these, or give --overwrite"
            )
        self.output.mkdir(parents=True, exist_ok=True)
        write_json(saved, settings)

    def _choose_size(self) -> Size:
        """Measure the machine's speed, report the expected duration, return the size. A resumed demo keeps its size."""
        plan_file = self.output / _PLAN_FILE
        if not plan_file.is_file():
            packages = next((size.packages for size in SIZES if size.name == self.size), SIZES[0].packages)
            measured = Speed(*measure_speed(PythonDocs(packages), self.backbone, self.seed))
            write_json(plan_file, {"size": self.size_for(measured).name, "speed": asdict(measured)})
        plan = read_json(plan_file, _Plan)
        with explain_damage(plan_file):
            size, speed = {size.name: size for size in SIZES}[plan["size"]], Speed(**plan["speed"])
        minutes = self.forecast(size, speed)
        progress.note(
            f"A step at the full size takes {speed.pretraining:.1f} s (pre-training) or {speed.finetuning:.1f} s "
            f"(fine-tuning) on this machine. The {size.name} size, with texts of up to {size.max_document_tokens} "
            f"tokens, will take about {max(1, round(minutes))} minutes"
        )
        if self.size == "auto" and minutes > self.max_minutes:
            progress.warn(
                f"the demo will take longer than max_minutes ({self.max_minutes:g}) even at the smallest size, because "
                "the number of training steps is fixed"
            )
        return size

    def _describe_texts(self, docs: PythonDocs, held_out: PythonDocs) -> None:
        """Print the numbers of docstrings and test queries, and warn if the demo is too small to show effects."""
        num_queries = len(DatasetSplit(held_out, "test").queries)
        progress.note(
            f"{len(Corpus.from_format(docs)):,} docstrings; {len(Corpus.from_format(held_out)):,} are in packages held "
            f"out for evaluation, with {num_queries:,} test queries"
        )
        if limitations := self.limitations(num_queries):
            progress.warn(f"this demo is too small to show effects of training: {'; '.join(limitations)}")

    def _train(self, docs: PythonDocs, size: Size) -> None:
        """Pre-train; then fine-tune the pre-trained model and, for comparison, the initial one."""
        limits = {"max_query_tokens": size.max_query_tokens, "max_document_tokens": size.max_document_tokens}
        pretrain = build_pretrain(
            docs, self.backbone, self.pretraining_steps, max_tokens=size.max_pretraining_tokens, seed=self.seed
        )
        self._run_once(replace(pretrain, output=self.output / "pretrained"))
        for name, model in (("finetuned-only", self.backbone), ("retromae-finetuned", str(self.output / "pretrained"))):
            is_new = self.backbone == "scratch"
            finetune = build_finetune(docs, model, self.finetuning_steps, is_new=is_new, seed=self.seed, **limits)
            self._run_once(replace(finetune, output=self.output / name))

    def _build_indexes(self, held_out: PythonDocs) -> None:
        """Build an index of the docstrings of the held-out packages with each model."""
        (self.output / "baselines").mkdir(exist_ok=True)
        if self.backbone == "minilm":
            folder = self.output / "baselines" / "minilm"
            self._run_once(Index(folder, dataset=held_out, model="minilm", indexes=(Flat(),)))
        models = {"baselines/finetuned-only": "finetuned-only", "index": "retromae-finetuned"}
        for folder_name, model in models.items():
            indexes = (Flat(), Bm25()) if folder_name == "index" else (Flat(),)
            index = Index(self.output / folder_name, dataset=held_out, model=str(self.output / model), indexes=indexes)
            self._run_once(index)

    def _run_once(self, command: Any) -> None:
        """Run a command unless its output folder is complete. If the demo is resumed, resume unfinished training."""
        if (command.output / MANIFEST).is_file():
            return
        if self.resume and command.output.with_name(f"{command.output.name}.checkpoint").exists():
            command = replace(command, resume=True)
        command.run()

    def _evaluate(self, held_out: PythonDocs) -> Report:
        """Evaluate BM25, each model, and the fusion of BM25 with the trained model on the held-out packages."""
        baselines, index = self.output / "baselines", self.output / "index"
        systems: list[System] = [Bm25System(title="BM25")]
        if self.backbone == "minilm":
            systems.append(IndexSystem(baselines / "minilm", title="MiniLM off the shelf"))
        systems += [
            IndexSystem(baselines / "finetuned-only", title="fine-tuned only"),
            IndexSystem(index, views=("flat",), title="RetroMAE, then fine-tuned"),
            IndexSystem(index, tune_on="dev", title="hybrid with BM25"),
        ]
        output = self.output / "report"
        return Evaluate(held_out, systems=tuple(systems), output=output, overwrite=True, seed=self.seed).run()

    def _effects(self, report: Report) -> list[StageEffect]:
        """Return the effect of each stage, such as fine-tuning, on the first measure of the report."""
        values = {system.name: system.values[report.measures[0]] for system in report.systems}
        dense = "RetroMAE, then fine-tuned"
        better = max(("BM25", dense), key=lambda name: float(values[name].mean()))
        pairs = [
            ("Fine-tuning, compared with MiniLM off the shelf", "fine-tuned only", "MiniLM off the shelf"),
            (f"RetroMAE ({self.pretraining_steps} steps) before fine-tuning", dense, "fine-tuned only"),
            (f'Fusion with BM25, compared with "{better}" alone', "hybrid with BM25", better),
        ]
        return [
            StageEffect.from_estimate(stage, estimate([values[name]], [values[baseline]]))
            for stage, name, baseline in pairs
            if baseline in values
        ]

    def _search_examples(self) -> Iterator[DemoExample]:
        """Yield each example question with the top-ranked documents of the initial model and of the trained model."""
        initial = "minilm" if self.backbone == "minilm" else "finetuned-only"
        before = Retriever.load(self.output / "baselines" / initial)
        after = Retriever.load(self.output / "index", views=("flat",))
        for question in _QUESTIONS:
            yield DemoExample(question, before.search(question, 3), after.search(question, 3))
