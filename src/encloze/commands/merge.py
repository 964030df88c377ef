"""Interpolate the weights of two models of one make, so that an adapted one keeps what the original knew."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from encloze import progress, recipe
from encloze.backbones.base import Backbone
from encloze.commands.base import Command, Merged
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError
from encloze.evaluation.report import Judged, Report, judge
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import DECODERS, model_card
from encloze.models.origins.base import Start
from encloze.models.origins.pretrained import Pretrained
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json
from encloze.storage.model_folders import locate
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance
from encloze.systems.model import Model

_MEASURE, _DEPTH = "nDCG@10", 10
_NAMED = 3  # faults of a kind


@dataclass(frozen=True)
class Merge(Command, name="merge"):
    """Between an adapted model and its original lie models that know some of both (Wortsman et al., CVPR 2022).

    With data sets every weight is judged on all of them, and the one with the highest mean nDCG@10 is written.
    """

    model: str
    """The adapted model: a folder, a hub's id, or minilm. The result has its pooling, prompts and limits."""
    original: str
    """What it was adapted from, or another model of the same make."""
    output: Path
    """The model folder to write."""
    weights: tuple[float, ...] = (0.5,)
    """The share of the adapted model in every tensor, from 0 to 1; of several the best on the data sets is taken."""
    dataset: Format | None = None
    """A data set of the kind that the model was adapted to."""
    retention: Format | None = None
    """A data set of another kind, to see what of the original is kept."""
    split: str = "dev"
    """The part of the queries to judge by, in both data sets."""
    seed: int = 0
    """Where the intervals and tests are drawn from."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        said = ", ".join(f"{weight:g}" for weight in self.weights)
        if not self.weights or not all(0 <= weight <= 1 for weight in self.weights):
            raise ValueError(f"weights must be numbers from 0 to 1, not {said or 'none'}")
        if len(set(self.weights)) < len(self.weights):
            raise ValueError(f"weights has a number twice: {said}")
        if len(self.weights) > 1 and not self._formats():
            raise ValueError(f"one of the weights {said} is chosen on data sets: give a dataset, or one weight")

    def run(self) -> Merged:
        refuse_existing(self.output, overwrite=self.overwrite)
        datasets = [DatasetSplit(given, self.split) for given in self._formats().values()]
        for dataset in datasets:
            dataset.check_documents()  # a split that the second lacks should be known before the first is encoded
        model, original = self._start(self.model), self._start(self.original)
        if faults := differences(model, original):
            raise CheckpointError(f"{self.model} and {self.original} are not of one make: {'; '.join(faults)}")
        self._warn_of_pooling(model, original)
        model.backbone.to(_kind(self.model))
        mixture = Mixture(model.backbone, original.backbone)
        reports = self._judged(datasets, model, mixture)
        weight = self._best(reports)
        mixture.take(weight)
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            _write(model, folder)
            write_json(folder / "merge.json", {"weight": weight, "reports": [report.figures() for report in reports]})
            (folder / README).write_text(self._card(weight), encoding="utf-8")
            places = {n: place for name, given in self._formats().items() for n, place in given.inputs(name).items()}
            write_provenance(
                folder,
                recipe.dump(self, {"verb": self.name}),
                {"model": self.model, "original": self.original, **places},
            )
        return Merged(self.output, "finetune" if model.decoders else "index", weight, tuple(reports))

    def _formats(self) -> dict[str, Format]:
        given = {"dataset": self.dataset, "retention": self.retention}
        return {name: format_ for name, format_ in given.items() if format_}

    def _start(self, name: str) -> Start:
        return Pretrained(name).start(lambda: iter(()), need_head=False, seed=self.seed)

    def _warn_of_pooling(self, model: Start, original: Start) -> None:
        mine, theirs = (start.card.dense.pooling if start.card.dense else None for start in (model, original))
        if None not in (mine, theirs) and mine != theirs:
            progress.warn(
                f"{self.model} is pooled by {mine} and {self.original} by {theirs}. The result is pooled by {mine}, "
                f"which the weights of {self.original} were not trained for"
            )

    def _judged(self, datasets: list[DatasetSplit], model: Start, mixture: Mixture) -> list[Report]:
        """A report for each data set: the original, the adapted model, and the two merged by each weight."""
        runs: list[list[Judged]] = [[] for _ in datasets]
        for title, folder in self._systems(model, mixture) if datasets else ():
            for dataset, of_dataset in zip(datasets, runs, strict=True):
                progress.note(f"Judging {title} on {dataset.format.place()}")
                of_dataset.append(Model(folder).rank(dataset, _DEPTH).named(title))
        return [
            judge(
                str(dataset.format.place()),
                self.split,
                dataset.judged(texts=True),
                of_dataset,
                (_MEASURE,),
                self.seed,
                dataset.counts(),
            )
            for dataset, of_dataset in zip(datasets, runs, strict=True)
        ]

    def _systems(self, model: Start, mixture: Mixture) -> Iterator[tuple[str, str]]:
        """Titles and folders; a merged model's is there only while it is looked at."""
        yield f"original ({Path(self.original).name})", self.original
        yield f"adapted ({Path(self.model).name})", self.model
        for weight in self.weights:
            mixture.take(weight)
            with tempfile.TemporaryDirectory() as place:
                with explain_write_errors(folder := Path(place) / f"merged-{weight:g}"):
                    _write(model, folder)
                yield f"merged, weight {weight:g}", str(folder)

    def _best(self, reports: list[Report]) -> float:
        """The weight with the highest mean over the data sets, the first of equal ones."""
        merged = [report.systems[2:] for report in reports]  # the original and the adapted model come first
        values = [[float(system.values[_MEASURE].mean()) for system in systems] for systems in merged]
        sums = [sum(of_weight) for of_weight in zip(*values, strict=True)] or [0.0]
        return self.weights[sums.index(max(sums))]

    def _card(self, weight: float) -> str:
        of_original = f"{1 - weight:g} x that of {self.original}"
        how = f"merged by encloze: every weight is {weight:g} x that of {self.model} + {of_original}"
        return model_card(self.output.name, how, {"`merge.json`": "the weight, and what was judged to choose it"})


class Mixture:
    """The weights between two models, put into the first of them."""

    def __init__(self, model: Backbone, original: Backbone) -> None:
        there = _parameters(original)
        once = {id(parameter): (name, parameter) for name, parameter in reversed(_parameters(model).items())}
        self._all = [
            (parameter, parameter.detach().clone(), there[name].detach())
            for name, parameter in once.values()  # what is tied is one parameter, and stays tied
            if name in there
        ]

    @torch.no_grad()
    def take(self, weight: float) -> None:
        """Make each tensor ``weight`` times the model's and the rest the original's; at 0 and 1 bit for bit one's."""
        for parameter, mine, theirs in self._all:
            ends = {0.0: theirs, 1.0: mine}
            parameter.copy_(ends[weight] if weight in ends else torch.lerp(theirs.float(), mine.float(), weight))


def differences(model: Start, original: Start) -> list[str]:
    """Why the weights of two models cannot be interpolated; empty where they can."""
    kinds = [start.backbone.config.model_type for start in (model, original)]
    if kinds[0] != kinds[1]:
        return [f"the model types are {kinds[0]} and {kinds[1]}"]
    found = []
    heads = [getattr(start.backbone.config, "num_attention_heads", 0) for start in (model, original)]
    if heads[0] != heads[1]:  # no tensor's shape tells
        found.append(f"they have {heads[0]} and {heads[1]} attention heads")
    mine, theirs = (_parameters(start.backbone) for start in (model, original))
    lone = sorted(name for name in mine.keys() ^ theirs.keys() if name.startswith("encoder."))
    if lone:
        found.append(f"{len(lone)} tensors of the encoder are in one alone, among them {', '.join(lone[:_NAMED])}")
    shapes = [
        f"{name} ({' x '.join(map(str, parameter.shape))}, {' x '.join(map(str, theirs[name].shape))})"
        for name, parameter in mine.items()
        if name in theirs and parameter.shape != theirs[name].shape
    ]
    if shapes:
        found.append(f"{len(shapes)} tensors have other shapes, among them {', '.join(shapes[:_NAMED])}")
    return found + _token_differences(model, original)


def _token_differences(model: Start, original: Start) -> list[str]:
    if model.tokenizer.fingerprint == original.tokenizer.fingerprint:
        return []
    mine, theirs = (start.tokenizer.core.get_vocab(with_added_tokens=True) for start in (model, original))
    if other := sorted(token for token, _ in mine.items() ^ theirs.items()):
        shown = ", ".join(map(repr, dict.fromkeys(other[:_NAMED])))
        return [f"their tokenizers have {len(mine)} and {len(theirs)} tokens and differ in {shown}"]
    return []


def _parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """The parameters of the encoder under names that do not depend on whether there is a head, then those of the head.

    A tied one comes under each of its names.
    """
    encoder = backbone.encoder.named_parameters(remove_duplicate=False)
    found = {f"encoder.{name}": parameter for name, parameter in encoder}
    if backbone.has_head:
        inside = f"{backbone.model.base_model_prefix}."
        every = backbone.model.named_parameters(remove_duplicate=False)
        found |= {name: parameter for name, parameter in every if not name.startswith(inside)}
    return found


def _kind(name: str) -> torch.dtype:
    """The type of number that a model was saved in; it is read as float32."""
    said = read_json(locate(name) / "config.json")
    return getattr(torch, said.get("dtype") or said.get("torch_dtype") or "float32")  # type: ignore[no-any-return]


def _write(model: Start, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    BiEncoder(model.backbone, model.tokenizer, model.card, model.heads).save(folder)
    if model.decoders:
        shutil.copyfile(model.decoders, folder / DECODERS)
