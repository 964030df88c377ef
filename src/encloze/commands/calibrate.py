"""Calibrate a re-ranker: its scores become probabilities, learnt from judged queries."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from encloze import progress, recipe
from encloze.calibration import Calibration, Method, brier, calibration_error
from encloze.commands.base import Calibrated, Command, HowFarOff, Level
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.errors import CheckpointError, DataError
from encloze.models.cross_encoder import CARD, is_cross_encoder
from encloze.storage.atomic import atomic_folder
from encloze.storage.json_files import read_json, write_json
from encloze.storage.model_folders import locate
from encloze.storage.names import MANIFEST
from encloze.storage.provenance import describe_input, write_provenance

_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Calibrate(Command, name="calibrate"):
    """Write a re-ranker whose hits come with the probability that they are relevant."""

    dataset: Format
    """Documents, queries and judgments; what is not judged counts as not relevant."""
    model: str
    """The re-ranker: a model folder or a hub's id."""
    scores: Path
    """Its scores of what will be re-ranked, as score writes them with --relevant false for the queries of the split."""
    output: Path
    """The model folder to write: the re-ranker with its curve."""
    split: str = "dev"
    """The part of the queries to learn from; best one that nothing was trained on."""
    method: Method = "isotonic"
    """isotonic, any rising curve, for many judged pairs; platt, a logistic one, for few."""
    folds: int = 5
    """Errors are measured on parts of the queries by curves of the other parts; so many parts."""
    seed: int = 0
    """Where the parts are drawn from."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds must be 2 or more, not {self.folds}")

    def run(self) -> Calibrated:
        folder = locate(self.model)
        if not is_cross_encoder(self.model):
            raise CheckpointError(f"{self.model} is no re-ranker. Train one with finetune_reranker")
        self._check_scores(folder)
        queries, scores, relevant = self._pairs(DatasetSplit(self.dataset, self.split))
        try:
            held_out = self._held_out(queries, scores, relevant)
            curve = Calibration.fit(scores, relevant, self.method)
        except ValueError as error:
            raise DataError(
                f"{self.scores}: {error} in the split {self.split!r}: there is nothing to learn. Take more queries, or "
                "score deeper"
            ) from error
        made = Calibrated(
            self.output,
            pairs=len(scores),
            relevant=float(relevant.mean()),
            before=HowFarOff(*(measure(_logistic(scores), relevant) for measure in (calibration_error, brier))),
            after=HowFarOff(*(measure(held_out, relevant) for measure in (calibration_error, brier))),
            levels=[_level(level, held_out, relevant) for level in _LEVELS],
        )
        with atomic_folder(self.output, overwrite=self.overwrite) as staging:
            shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST, "log.jsonl"))
            card = read_json(folder / CARD) if (folder / CARD).is_file() else {"encloze": 1}
            write_json(staging / CARD, card | {"calibration": asdict(curve)})
            inputs = {**self.dataset.inputs("dataset"), "model": self.model, "scores": self.scores}
            write_provenance(staging, recipe.dump(self, {"verb": self.name}), inputs)
        return made

    def _check_scores(self, folder: Path) -> None:
        """Scores of another model, or with relevant documents put in, make probabilities that are wrong unseen."""
        if not (self.scores / "inputs.json").is_file():
            progress.warn(f"{self.scores} does not say which model it is of: {self.model} is taken for it")
            return
        was = read_json(self.scores / "inputs.json")["inputs"].get("model")
        now = describe_input(folder if was is not None and "sha256" in was else self.model)
        if was is not None and any(was.get(what) != now.get(what) for what in ("sha256", "name")):
            raise DataError(f"{self.scores} holds the scores of another model than {self.model}. Run score with it")
        made = recipe.read(str(self.scores / "recipe.yaml"))
        if made.get("verb") != "score":
            raise DataError(
                f"{self.scores} was written by {made.get('verb')}, not by score. Run score, and give its folder"
            )
        if made.get("relevant", True):
            raise DataError(
                f"{self.scores} holds relevant documents that were not found, too: probabilities would come out too "
                "high. Run score again with --relevant false"
            )

    def _pairs(self, dataset: DatasetSplit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The number of each pair's query, its score, and whether it is relevant."""
        run, judgments = read_run(self.scores), dataset.judgments
        pairs = [
            (number, score, judgments[query].get(document, 0) > 0)
            for number, query in enumerate(sorted(run.keys() & judgments.keys()))
            for document, score in run[query].items()
        ]
        if not pairs:
            raise DataError(f"{self.scores} scores nothing for the queries of the split {self.split!r}")
        queries, scores, relevant = zip(*pairs, strict=True)
        return np.array(queries), np.array(scores), np.array(relevant)

    def _held_out(self, queries: np.ndarray, scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
        """The probability of each pair by a curve that was learnt from other queries: what errors are measured on."""
        count = int(queries.max()) + 1
        if count < self.folds:
            raise ValueError(f"only {count} queries are scored, for {self.folds} folds")
        part = np.random.default_rng(self.seed).permutation(count)[queries] % self.folds
        found = np.empty(len(scores))
        for fold in range(self.folds):
            other = part != fold
            found[~other] = Calibration.fit(scores[other], relevant[other], self.method)(scores[~other])
        return found


def _logistic(scores: np.ndarray) -> np.ndarray:
    """What is often taken for a probability."""
    made: np.ndarray = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    return made


def _level(level: float, probabilities: np.ndarray, relevant: np.ndarray) -> Level:
    above = probabilities >= level
    precision = float(relevant[above].mean()) if above.any() else None
    return Level(level, precision, float(relevant[above].sum() / relevant.sum()))
