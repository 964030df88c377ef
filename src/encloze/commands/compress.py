"""Measure smaller and faster variants of a retriever, and recommend one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from encloze import recipe
from encloze.commands._compression_trials import CompressionTrials, Precision, available_precisions, default_indexes
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, CompressionResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, RecipeError
from encloze.evaluation.compression import Budget, CompressionReport
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import is_cross_encoder
from encloze.search.indexes.base import Index
from encloze.settings import Seed, plain
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.provenance import write_provenance

_RECIPE, _MODEL = "index.yaml", "model"
_ORDER = get_args(Precision)


@dataclass(frozen=True)
class Compress(Command, name="compress"):
    """Measure smaller and faster variants of a retriever, and recommend one.

    First the model and its students are tried in each precision, with exact search, then each way of storing vectors
    with the model in float32. Those that are equivalent to it in nDCG@10 are then combined. Vectors of documents are
    stored in the cache, so that a command that was interrupted is faster when it is repeated.

    Example:
        >>> result = Compress(model="retriever", dataset="my_data", output="smaller").run()
        >>> print(result.report.reason)
    """

    model: str
    """Encoder to compress: a model folder, a Hugging Face hub id, or minilm."""
    dataset: Format
    """Data set with judged queries and documents, on which quality and costs are measured."""
    output: Path
    """Folder to write: the figures, a recipe of the command index with the recommended configuration and, if it is an
    exported model, the model."""
    split: str = "dev"
    """Split of the queries. Evaluate the recommended configuration on another split: it was chosen on this one."""
    students: tuple[str, ...] = ()
    """Smaller models to try, too, such as those of the command distill."""
    precisions: tuple[Precision, ...] = ()
    """Precisions of the encoder to try: float32, bfloat16, onnx (float32), onnx_int8. By default those that are
    available: bfloat16 if the hardware supports it, and onnx if the packages of the extra export are installed."""
    indexes: tuple[Index, ...] = ()
    """Ways of storing vectors to try, as indexes of the command index. The first one should be exact. By default, for
    embeddings flat and ivf with float16, int8, int8 with half of the dimensions, rabitq (one bit per dimension, with
    rescoring) and pq; for term weights inverted with float32, float16 and uint8."""
    budget: Budget = field(default_factory=Budget)
    """What the recommended configuration may cost, and how much nDCG@10 it may lose."""
    prefer: Literal["latency", "memory"] = "latency"
    """What is minimized within the budget: the median latency of a query, or the memory of model and vectors."""
    seed: Seed = 0
    """Random seed, a setting of every command. It has no effect here."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    @locks_output
    def run(self) -> CompressionResult:
        refuse_existing(self.output, overwrite=self.overwrite)
        precisions = self.precisions or available_precisions()
        if "float32" not in precisions:
            message = "float32 must be among them: all others are compared with it"
            raise RecipeError("the recipe", [("precisions", message)])
        models = (self.model, *self.students)
        for name in models:
            if is_cross_encoder(name):
                raise CheckpointError(f"{name} is a re-ranker or a classifier, and only encoders can be compressed")
        dataset, views = DatasetSplit(self.dataset, self.split), BiEncoder.load(self.model).views
        if wrong := [index.name for index in self.indexes if index.input_type not in views]:
            message = f"{wrong[0]} does not store vectors that {self.model} computes ({', '.join(views)})"
            raise RecipeError("the recipe", [("indexes", message)])
        for number, name in enumerate(self.students):
            if (found := BiEncoder.load(name).views).keys() != views.keys():
                message = f"{name} computes other vectors ({', '.join(found)}) than the model ({', '.join(views)})"
                raise RecipeError("the recipe", [(f"students[{number}]", message)])
        with atomic_folder(self.output, overwrite=self.overwrite) as folder, explain_write_errors(folder):
            trials = CompressionTrials(dataset, self.budget.loss, folder)
            indexes = self.indexes or default_indexes(views)
            trials.measure_all(models, sorted(precisions, key=_ORDER.index), indexes)
            report = trials.report(self.budget, self.prefer)
            model = self._keep_recommended(report, trials, folder)
            report.save(folder)
            inputs: dict[str, Path | str | None] = {**self.dataset.inputs("dataset"), "model": self.model}
            inputs |= {f"students[{number}]": name for number, name in enumerate(self.students)}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return CompressionResult(self.output, report, self.output / _RECIPE if model else None)

    def _keep_recommended(self, report: CompressionReport, trials: CompressionTrials, folder: Path) -> bool:
        """Delete the exported models but the recommended one, and write the recipe; return whether there is one."""
        chosen, kept = report.recommended, None
        if chosen is not None:
            variant, indexes = trials.tried[report.configurations.index(chosen)]
            is_exported, model = Path(variant.location).parent == folder, variant.location
            if is_exported:
                kept, model = Path(variant.location), str((self.output / _MODEL).absolute())
            settings = {"verb": "index", "model": model, "indexes": [plain(index) for index in indexes]}
            if not is_exported:
                settings["precision"] = variant.precision
            text = f"# {report.reason}.\n#   encloze index {self.output / _RECIPE} --corpus FOLDER --output FOLDER\n"
            (folder / _RECIPE).write_text(text + recipe.dump_tree(settings), encoding="utf-8")
        for exported in {Path(variant.location) for variant, _ in trials.tried}:
            if exported.parent == folder and exported != kept:
                shutil.rmtree(exported)
        if kept:
            kept.rename(folder / _MODEL)
        return chosen is not None
