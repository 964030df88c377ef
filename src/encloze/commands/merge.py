"""Interpolate between the weights of an adapted and of its original model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, MergeResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError
from encloze.evaluation.report import Report, evaluate_runs
from encloze.evaluation.results import SystemResult
from encloze.models.bi_encoder import BiEncoder
from encloze.models.card import model_card
from encloze.models.checkpoint import DECODERS
from encloze.models.interpolation import WeightInterpolation, all_parameters, architecture_differences
from encloze.models.origins.base import InitialModel
from encloze.models.origins.pretrained import Pretrained
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json
from encloze.storage.model_folders import locate
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance
from encloze.systems.model import Model

_MEASURE, _DEPTH = "nDCG@10", 10


@dataclass(frozen=True)
class Merge(Command, name="merge"):
    """Interpolate linearly between the weights of an adapted model and its original model (Wortsman et al., 2022).

    If ``dataset`` or ``retention_dataset`` is set, the original model, the adapted model and one merged model for each
    interpolation weight are evaluated on these data sets. The weight with the highest mean nDCG@10 over the data sets
    is used.

    Example:
        >>> result = Merge(model="retriever", original="minilm", output="merged", weights=[0.5]).run()
        >>> result.weight
        0.5
    """

    model: str
    """The adapted model: a folder, an id on the Hugging Face hub, or minilm. Its pooling, prompts and length limits
    become those of the merged model."""
    original: str
    """The model from which the adapted model was trained, or another model of the same architecture."""
    output: Path
    """Folder to which the merged model is written."""
    weights: tuple[float, ...] = (0.5,)
    """Interpolation weights to try, from 0 (the original model) to 1 (the adapted model). If there are several, the one
    with the highest mean nDCG@10 on the data sets is used."""
    dataset: Format | None = None
    """Data set of the domain that the model was adapted to."""
    retention_dataset: Format | None = None
    """Data set of another domain, to measure how much of the original model's retrieval quality is retained."""
    split: str = "dev"
    """Split on which models are evaluated, in dataset and in retention_dataset."""
    seed: Seed = 0
    """Random seed of bootstrap intervals and randomization tests."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        values = ", ".join(f"{weight:g}" for weight in self.weights)
        if not self.weights or not all(0 <= weight <= 1 for weight in self.weights):
            raise ValueError(f"weights must be numbers from 0 to 1, not {values or 'none'}")
        if len(set(self.weights)) < len(self.weights):
            raise ValueError(f"weights contains a number twice: {values}. Remove the repetition")
        if len(self.weights) > 1 and not self._formats():
            raise ValueError(f"choosing one of the weights {values} needs a data set. Set dataset, or give one weight")

    @locks_output
    def run(self) -> MergeResult:
        refuse_existing(self.output, overwrite=self.overwrite)
        datasets = [DatasetSplit(format_, self.split) for format_ in self._formats().values()]
        for dataset in datasets:
            dataset.check_judged_documents()  # report a missing split before anything is encoded
        model, original = self._load(self.model), self._load(self.original)
        if differences := architecture_differences(model, original):
            raise CheckpointError(
                f"{self.model} and {self.original} cannot be merged: {'; '.join(differences)}. Give two models of the "
                "same architecture with the same tokenizer"
            )
        self._warn_of_pooling(model, original)
        model.backbone.to(_saved_dtype(self.model))
        interpolation = WeightInterpolation(all_parameters(model.backbone), all_parameters(original.backbone))
        reports = self._evaluate(datasets, model, interpolation)
        weight = best_weight(self.weights, reports)
        interpolation.apply(weight)
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            _write_model(model, folder)
            write_json(folder / "merge.json", {"weight": weight, "reports": [report.to_dict() for report in reports]})
            (folder / README).write_text(self._model_card(weight, folder), encoding="utf-8")
            inputs = {
                key: path for name, format_ in self._formats().items() for key, path in format_.inputs(name).items()
            }
            write_provenance(
                folder,
                recipe.dump(self, {"verb": self.name}),
                {"model": self.model, "original": self.original, **inputs},
            )
        return MergeResult(self.output, "finetune" if model.decoders else "index", weight, tuple(reports))

    def _formats(self) -> dict[str, Format]:
        formats = {"dataset": self.dataset, "retention_dataset": self.retention_dataset}
        return {name: format_ for name, format_ in formats.items() if format_}

    def _load(self, name: str) -> InitialModel:
        return Pretrained(name).load(lambda: iter(()), require_mlm_head=False, seed=self.seed)

    def _warn_of_pooling(self, model: InitialModel, original: InitialModel) -> None:
        own, other = (each.config.dense.pooling if each.config.dense else None for each in (model, original))
        if None not in (own, other) and own != other:
            progress.warn(
                f"{self.model} uses {own} pooling, but {self.original} uses {other} pooling. The merged model uses "
                f"{own} pooling, for which the weights of {self.original} were not trained"
            )

    def _evaluate(
        self, datasets: list[DatasetSplit], model: InitialModel, interpolation: WeightInterpolation
    ) -> list[Report]:
        """Return one report for each data set. Its systems are the original, the adapted and all merged models."""
        results: list[list[SystemResult]] = [[] for _ in datasets]
        for title, folder in self._candidates(model, interpolation) if datasets else ():
            for dataset, of_dataset in zip(datasets, results, strict=True):
                progress.note(f"Evaluating {title} on {dataset.format.location()}")
                of_dataset.append(replace(Model(folder).rank(dataset, _DEPTH), name=title))
        return [
            evaluate_runs(
                str(dataset.format.location()),
                self.split,
                dataset.evaluated_judgments(texts=True),
                of_dataset,
                (_MEASURE,),
                self.seed,
                dataset.counts(queries=True, documents=True),
            )
            for dataset, of_dataset in zip(datasets, results, strict=True)
        ]

    def _candidates(self, model: InitialModel, interpolation: WeightInterpolation) -> Iterator[tuple[str, str]]:
        """Yield the name and folder of each model to evaluate.

        The folder of a merged model is deleted when the next model is requested.
        """
        yield f"original ({Path(self.original).name})", self.original
        yield f"adapted ({Path(self.model).name})", self.model
        for weight in self.weights:
            interpolation.apply(weight)
            with tempfile.TemporaryDirectory() as parent:
                with explain_write_errors(folder := Path(parent) / f"merged-{weight:g}"):
                    _write_model(model, folder)
                yield f"merged, weight {weight:g}", str(folder)

    def _model_card(self, weight: float, folder: Path) -> str:
        formula = f"{weight:g} x weights of {self.model} + {1 - weight:g} x weights of {self.original}"
        files = {"`merge.json`": "the interpolation weight, and the evaluation by which it was chosen"}
        bases = [self.original, self.model]
        return model_card(
            folder, self.output.name, f"merged by encloze: {formula}", base_models=bases, extra_files=files
        )


def best_weight(weights: Sequence[float], reports: Sequence[Report]) -> float:
    """Return the interpolation weight with the highest mean nDCG@10 over the data sets; the first one if several tie.

    Args:
        weights: Interpolation weights to choose from.
        reports: One report for each data set. Its systems are the original model, the adapted model, and then the
            merged model of each weight, in the order of ``weights``.

    Returns:
        The best weight; the first one if there are no reports.
    """
    merged = [report.systems[2:] for report in reports]
    means = [[float(system.values[_MEASURE].mean()) for system in systems] for systems in merged]
    sums = [sum(of_weight) for of_weight in zip(*means, strict=True)] or [0.0]
    return weights[sums.index(max(sums))]


def _saved_dtype(name: str) -> torch.dtype:
    """Return the data type in which the weights of a model are saved. (When loaded, they become float32.)"""
    file = locate(name) / "config.json"
    config = read_json(file)
    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"), None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(f"{file} is damaged: its dtype is no data type of torch. Correct it, such as: float32")
    return dtype


def _write_model(model: InitialModel, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    BiEncoder(model.backbone, model.tokenizer, model.config, model.head_weights).save(folder)
    if model.decoders:
        shutil.copyfile(model.decoders, folder / DECODERS)
