"""Calibrate a re-ranker: map its scores to probabilities of relevance."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from encloze import progress, recipe
from encloze.calibration import Calibration, Method, brier_score, calibration_error
from encloze.commands._output_lock import locks_output
from encloze.commands.base import CalibrationError, CalibrationResult, Command, OperatingPoint
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.errors import CheckpointError, DataError
from encloze.models.cross_encoder import RERANKER_FILE, is_cross_encoder, settings_to_save
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder
from encloze.storage.integrity import check_if_result
from encloze.storage.json_files import write_json
from encloze.storage.model_folders import locate
from encloze.storage.names import MANIFEST, ONNX_RERANKER
from encloze.storage.provenance import describe_input, read_inputs, write_provenance

_PROBABILITIES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Calibrate(Command, name="calibrate"):
    """Calibrate a re-ranker, so that it also returns the probability that a document is relevant.

    Example:
        >>> Calibrate(dataset="my_data", model="reranker", scores="scores", output="calibrated").run()
    """

    dataset: Format
    """Documents, queries and judgments. Documents without a judgment are treated as not relevant."""
    model: str
    """The re-ranker: a model folder or an id on the Hugging Face hub."""
    scores: Path
    """Output folder of the command score, run with the same model, the same split and --include_relevant false."""
    output: Path
    """The model folder to write: the re-ranker with its calibration."""
    split: str = "dev"
    """Split whose judgments are used. It should not have been used in training."""
    method: Method = "isotonic"
    """isotonic: any non-decreasing function; suited to many judged pairs. platt: a logistic function; suited to few
    judged pairs."""
    folds: int = 5
    """Number of folds of the cross-validation over queries that measures the calibration error."""
    seed: Seed = 0
    """Seed of the assignment of queries to folds."""
    overwrite: bool = False
    """Whether an existing output is replaced."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds must be 2 or more, not {self.folds}")

    @locks_output
    def run(self) -> CalibrationResult:
        folder = locate(self.model)
        if not is_cross_encoder(self.model):
            raise CheckpointError(f"{self.model} is not a re-ranker. Train one with finetune_reranker")
        if (folder / ONNX_RERANKER).is_file():
            raise CheckpointError(
                f"{self.model} is an export, whose calibration is that of the model. Calibrate the model that was "
                "exported, and export the result"
            )
        self._check_scores(folder)
        queries, scores, relevant = self._pairs(DatasetSplit(self.dataset, self.split))
        try:
            held_out = self._cross_validated(queries, scores, relevant)
            calibration = Calibration.fit(scores, relevant, self.method)
        except ValueError as error:
            raise DataError(
                f"{self.scores} cannot be calibrated on the split {self.split!r}: {error}. Use more queries, or score "
                "more candidates of each query"
            ) from error
        result = CalibrationResult(
            self.output,
            pairs=len(scores),
            relevant=float(relevant.mean()),
            uncalibrated=_errors(_logistic(scores), relevant),
            calibrated=_errors(held_out, relevant),
            operating_points=[_operating_point(value, held_out, relevant) for value in _PROBABILITIES],
        )
        with atomic_folder(self.output, overwrite=self.overwrite) as staging:
            shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST, "log.jsonl"))
            write_json(staging / RERANKER_FILE, settings_to_save(folder) | {"calibration": asdict(calibration)})
            inputs = {**self.dataset.inputs("dataset"), "model": self.model, "scores": self.scores}
            write_provenance(staging, recipe.dump(self, {"verb": self.name}), inputs)
        return result

    def _check_scores(self, folder: Path) -> None:
        """Raise DataError if another model computed the scores, or if they include documents that were not retrieved.

        In both cases the probabilities would be wrong, without any visible sign.
        """
        check_if_result(self.scores)
        if not (self.scores / "inputs.json").is_file():
            progress.warn(f"{self.scores} does not record the model that computed the scores: {self.model} is assumed")
            return
        recorded = read_inputs(self.scores)["inputs"].get("model")
        current = describe_input(folder if recorded is not None and "sha256" in recorded else self.model)
        if recorded is not None and any(recorded.get(key) != current.get(key) for key in ("sha256", "name")):
            raise DataError(
                f"{self.scores} was computed by another model than {self.model}. Run score with --model {self.model}"
            )
        settings = recipe.read(str(self.scores / "recipe.yaml"))
        if settings.get("verb") != "score":
            raise DataError(
                f"{self.scores} was written by {settings.get('verb')}, not by score. Run score, and set scores to "
                "its output"
            )
        if settings.get("include_relevant", True):
            raise DataError(
                f"{self.scores} includes relevant documents that were not retrieved, so probabilities would be too "
                "high. Run score again with --include_relevant false"
            )

    def _pairs(self, dataset: DatasetSplit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for each scored document of each query: the query's index, the score and whether it is relevant."""
        run, judgments = read_run(self.scores), dataset.judgments
        pairs = [
            (number, score, judgments[query].get(document, 0) > 0)
            for number, query in enumerate(sorted(run.keys() & judgments.keys()))
            for document, score in run[query].items()
        ]
        if not pairs:
            raise DataError(
                f"{self.scores} contains no scores for the queries of the split {self.split!r}. Run score on this split"
            )
        queries, scores, relevant = zip(*pairs, strict=True)
        return np.array(queries), np.array(scores), np.array(relevant)

    def _cross_validated(self, queries: np.ndarray, scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
        """Return each pair's probability of relevance, from a calibration fitted on the pairs of all other folds."""
        count = int(queries.max()) + 1
        if count < self.folds:
            raise ValueError(
                f"only {count} queries have scores and judgments, fewer than the setting folds ({self.folds})"
            )
        fold_of_pair = np.random.default_rng(self.seed).permutation(count)[queries] % self.folds
        probabilities = np.empty(len(scores))
        for fold in range(self.folds):
            train = fold_of_pair != fold
            probabilities[~train] = Calibration.fit(scores[train], relevant[train], self.method)(scores[~train])
        return probabilities


def _errors(probabilities: np.ndarray, relevant: np.ndarray) -> CalibrationError:
    return CalibrationError(calibration_error(probabilities, relevant), brier_score(probabilities, relevant))


def _logistic(scores: np.ndarray) -> np.ndarray:
    """Return the logistic function of each score, a common way to use uncalibrated scores as probabilities."""
    probabilities: np.ndarray = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    return probabilities


def _operating_point(probability: float, probabilities: np.ndarray, relevant: np.ndarray) -> OperatingPoint:
    selected = probabilities >= probability
    precision = float(relevant[selected].mean()) if selected.any() else None
    return OperatingPoint(probability, precision, float(relevant[selected].sum() / relevant.sum()))
