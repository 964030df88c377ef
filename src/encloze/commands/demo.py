"""The whole way on the docstrings of installed Python packages: pre-train, fine-tune, index, judge, search."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from encloze import progress, recipe
from encloze.commands.base import Command, StageSays
from encloze.commands.evaluate import Evaluate
from encloze.commands.index import Index
from encloze.commands.report import MakeReport
from encloze.data.corpus import Corpus
from encloze.data.formats.python_docs import PythonDocs
from encloze.data.records import Document, Hit
from encloze.errors import StorageError, importable
from encloze.evaluation.estimates import estimate
from encloze.evaluation.report import Report
from encloze.retrieval.retriever import Retriever
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.settings import plain
from encloze.storage.json_files import read_json, write_json
from encloze.storage.names import MANIFEST
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System
from encloze.systems.bm25 import Bm25 as Bm25System
from encloze.systems.index import Index as IndexSystem

_QUESTIONS = (
    "solve a sparse system of linear equations",
    "test whether two samples come from the same distribution",
    "copy a whole directory tree",
)
# What all but training takes on two cores with bfloat16, and the shares of the rest. Fine-tuning runs twice.
_FIXED_SECONDS, _LEAST_TRAINING_SECONDS = 190, 40
_PRETRAINING, _FINETUNING = 0.4, 0.3
_CALIBRATION_STEPS = 4
_MOST_EPOCHS = 3.0


@dataclass(frozen=True)
class Example:
    """One question, answered before and after."""

    question: str
    before: list[tuple[Document, Hit]]
    after: list[tuple[Document, Hit]]


@dataclass(frozen=True)
class Shown:
    """What the demo found."""

    report: Report
    stages: list[StageSays]
    examples: list[Example]
    folder: Path
    page: Path
    minutes: float
    backbone: str


@dataclass(frozen=True)
class Demo(Command, name="demo"):
    """Python's documentation, made searchable by an encoder that is adapted to it; needs no hub and no data.

    Summary lines ask, docstrings answer. Pre-training reads all docstrings, as one would read the texts one has; the
    questions, and the answers to judge by, are of packages whose summary lines no training saw.
    """

    output: Path = Path("demo")
    """The folder for models, indexes and the report."""
    minutes: float = 7.0
    """About how long it may take on two cores; the number of training steps follows from it (5 at least)."""
    backbone: Literal["minilm", "scratch"] = "minilm"
    """Whether to start from all-MiniLM-L6-v2 or from random weights and a new tokenizer."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to keep the stages that an earlier, interrupted demo finished."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if not 1 <= self.minutes <= 600:
            raise ValueError(f"minutes must be from 1 to 600, not {self.minutes}")

    def run(self) -> Shown:
        for module in ("torch", "jinja2", "matplotlib"):  # the last two for the page at the end
            importable(module, "demo")
        began = time.monotonic()
        self._prepare()
        docs, held_out = PythonDocs(), PythonDocs(only="held_out")
        progress.note("Step 1 of 5: the texts")
        progress.note(f"{len(Corpus.open(docs)):,} docstrings, {len(Corpus.open(held_out)):,} in held-out packages")
        progress.note("Step 2 of 5: training")
        self._train(docs)
        progress.note("Step 3 of 5: indexing the held-out packages")
        self._index_held_out(held_out)
        progress.note("Step 4 of 5: judging")
        report = self._judge(held_out)
        progress.note("Step 5 of 5: indexing everything")
        self._index_all(docs)
        write_provenance(
            self.output, recipe.dump(replace(self, resume=False), {"verb": self.name}), {"corpus": docs.place()}
        )
        examples = list(self._examples())
        page = MakeReport((self.output,), self.output / "page", title="encloze demo", cards=True, overwrite=True).run()
        minutes = (time.monotonic() - began) / 60
        return Shown(report, self._stages(report), examples, self.output, page.page, minutes, self.backbone)

    def _prepare(self) -> None:
        """Make the folder, or find it with ``resume``, if it is a demo's and of the same settings."""
        settings, kept = plain(self) | {"resume": False, "overwrite": False, "output": ""}, self.output / "demo.json"
        if self.output.exists() and not self.output.is_dir():
            raise StorageError(f"{self.output} is a file. Choose another --output")
        if self.output.exists() and any(self.output.iterdir()) and not kept.is_file():
            raise StorageError(f"{self.output} was not made by a demo. Choose another --output")
        if self.output.exists() and self.overwrite:
            shutil.rmtree(self.output)
        elif self.output.exists() and not self.resume:
            raise StorageError(f"{self.output} exists already. Give --resume to go on, or --overwrite to begin anew")
        elif kept.is_file() and read_json(kept) != settings:
            raise StorageError(f"{self.output} was begun with other settings: {read_json(kept)}. Give --overwrite")
        self.output.mkdir(parents=True, exist_ok=True)
        write_json(kept, settings)

    def _train(self, docs: PythonDocs) -> None:
        """Pre-train; then fine-tune the adapted encoder and, to compare, the one it started from."""
        pretrain, finetune = self._tasks(docs)
        seconds = max(self.minutes * 60 - _FIXED_SECONDS, _LEAST_TRAINING_SECONDS)
        self._train_stage("pretrained", pretrain, seconds * _PRETRAINING)
        tuned = self._train_stage("finetuned-only", finetune, seconds * _FINETUNING)
        adapted = replace(finetune, model=_origin(self.output / "pretrained"))
        self._train_stage("retromae-finetuned", replace(adapted, training=tuned), None)

    def _train_stage(self, name: str, task: Any, seconds: float | None) -> Any:
        """Train, unless that was done before; with ``seconds`` for as many steps as fit. Returns the training."""
        folder = self.output / name
        if seconds is not None:
            task = replace(task, training=self._fitting(name, task, seconds))
        if not (folder / MANIFEST).is_file():
            progress.note(f"{name}: {task.training.steps} steps")
            unfinished = folder.with_name(f"{name}.unfinished").exists()
            replace(task, output=folder, resume=unfinished and self.resume).run()
        return task.training

    def _fitting(self, name: str, task: Any, seconds: float) -> Any:
        """The training with as many steps as fit, measured by a few; remembered, so that a resumed demo agrees."""
        remembered = self.output / f"{name}.steps.json"
        if not remembered.is_file():
            with tempfile.TemporaryDirectory() as folder:
                few = replace(task.training, steps=_CALIBRATION_STEPS, log_every=1, save_every=0, frozen_steps=0)
                replace(task, output=Path(folder) / "model", training=few).run()
                log = (Path(folder) / "model" / "log.jsonl").read_text(encoding="utf-8").splitlines()
            lines = [json.loads(line) for line in log]
            each = sorted(line["seconds"] for line in lines)[_CALIBRATION_STEPS // 2 - 1]
            most = int(_MOST_EPOCHS * _CALIBRATION_STEPS / lines[-1]["epoch"])
            remembered.write_text(json.dumps(min(most, max(5, int(seconds / each)))))
        steps = json.loads(remembered.read_text())
        new_parts = {"frozen_steps": int(0.4 * steps)} if task.training.encoder_learning_rate else {}
        return replace(task.training, steps=steps, **new_parts)

    def _tasks(self, docs: PythonDocs) -> tuple[Any, Any]:
        from encloze.commands.finetune import Finetune
        from encloze.commands.pretrain import Pretrain
        from encloze.objectives.retromae import RetroMae
        from encloze.training.loop import Training

        fresh = self.backbone == "scratch"
        start, output = _origin(self.backbone), self.output / "unused"
        # A new decoder learns fast, an encoder that is good already learns slowly.
        pretraining = Training(
            learning_rate=5e-4, encoder_learning_rate=None if fresh else 2e-5, log_every=5, save_every=50
        )
        finetuning = Training(learning_rate=2e-4 if fresh else 3e-5, log_every=5, save_every=50)
        pretrain = Pretrain(
            docs,
            start,
            RetroMae(),
            output,
            max_tokens=128,
            batch_tokens=4096,
            training=pretraining,
            monitors=(),  # the minutes are few, and the table at the end tells more
            seed=self.seed,
        )
        finetune = Finetune(
            docs, start, output, max_query_tokens=48, max_document_tokens=128, training=finetuning, seed=self.seed
        )
        return pretrain, finetune

    def _index_held_out(self, held_out: PythonDocs) -> None:
        for name in ("minilm", "finetuned-only", "retromae-finetuned"):
            if name == "minilm" and self.backbone == "scratch":
                continue
            model = "minilm" if name == "minilm" else str(self.output / name)
            kinds = (Flat(), Bm25()) if name == "retromae-finetuned" else (Flat(),)
            self._once(Index(self.output / "held-out" / name, dataset=held_out, model=model, indexes=kinds))

    def _index_all(self, docs: PythonDocs) -> None:
        model = str(self.output / "retromae-finetuned")
        self._once(Index(self.output / "index", corpus=docs, model=model, indexes=(Flat(), Bm25())))

    def _once(self, task: Index) -> None:
        if not (task.output / MANIFEST).is_file():
            task.output.parent.mkdir(exist_ok=True)
            task.run()

    def _judge(self, held_out: PythonDocs) -> Report:
        folder = self.output / "held-out"
        final = folder / "retromae-finetuned"
        systems: list[System] = [Bm25System(title="BM25")]
        if self.backbone == "minilm":
            systems.append(IndexSystem(folder / "minilm", title="MiniLM as it comes"))
        systems += [
            IndexSystem(folder / "finetuned-only", title="fine-tuned only"),
            IndexSystem(final, views=("flat",), title="RetroMAE, then fine-tuned"),
            IndexSystem(final, tune_on="dev", title="hybrid with BM25"),
        ]
        return Evaluate(
            held_out, systems=tuple(systems), output=self.output / "report", overwrite=True, seed=self.seed
        ).run()

    def _stages(self, report: Report) -> list[StageSays]:
        values = {system.name: system.values[report.measures[0]] for system in report.systems}
        dense = "RetroMAE, then fine-tuned"
        better = max(("BM25", dense), key=lambda name: float(values[name].mean()))
        pairs = [
            ("Fine-tuning, against MiniLM as it comes", "fine-tuned only", "MiniLM as it comes"),
            ("RetroMAE before fine-tuning", dense, "fine-tuned only"),
            (f"Joining with BM25, against {better} alone", "hybrid with BM25", better),
        ]
        return [
            StageSays(stage, estimate([values[after] - values[before]]).interval())
            for stage, after, before in pairs
            if before in values
        ]

    def _examples(self) -> Iterator[Example]:
        first = "minilm" if self.backbone == "minilm" else "finetuned-only"
        before = Retriever.load(self.output / "held-out" / first)
        after = Retriever.load(self.output / "held-out" / "retromae-finetuned", views=("flat",))
        for question in _QUESTIONS:
            yield Example(question, before.search(question, 3), after.search(question, 3))


def _origin(name: str | Path) -> Any:
    from encloze.models.origins.base import Origin  # loads torch

    return Origin.named(str(name))
