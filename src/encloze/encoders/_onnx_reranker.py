"""Re-rankers that encloze export wrote, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encloze.calibration import Calibration
from encloze.encoders._onnx_session import open_session, providers_of
from encloze.encoders._onnx_settings import OnnxRerankerSettings
from encloze.errors import CheckpointError
from encloze.storage.names import RERANKER_GRAPH
from encloze.text.pair_scoring import score_pairs
from encloze.text.text_pairs import PaddedPairs
from encloze.text.tokenizer import Tokenizer

_BATCH_TOKENS = 2048
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxReranker:
    """A cross-encoder that runs on ONNX Runtime, with the protocol ``Reranker``. ``load_reranker`` loads it."""

    def __init__(self, folder: Path, name: str, device: str | None = None) -> None:
        """Open the graph of an exported re-ranker.

        Args:
            folder: The folder.
            name: Name that the re-ranker was loaded by.
            device: ``cpu`` or ``cuda``; by default the CPU.

        Raises:
            CheckpointError: A file is missing or damaged.
            RecipeError: ONNX Runtime does not support the device.
        """
        self._name, self._settings = name, OnnxRerankerSettings.read(folder)
        self._tokenizer = Tokenizer.load(folder)
        self._device, providers = providers_of(device)
        self._session = open_session(folder / RERANKER_GRAPH, providers, _INPUTS, ["logits"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        values = self._settings.calibration
        self._calibration = None if values is None else Calibration.from_dict(values)

    @property
    def name(self) -> str:
        """Name that the re-ranker was loaded by."""
        return self._name

    @property
    def calibration(self) -> Calibration | None:
        """Calibration that maps scores to probabilities of relevance; None if the model was not calibrated."""
        return self._calibration

    @property
    def activation(self) -> str:
        """Function of the logit that gives the score: ``identity`` or ``sigmoid``."""
        return self._settings.activation

    @property
    def fingerprint(self) -> str:
        """Hash of all that the scores depend on: weights, tokenizer, activation, length limit, precision."""
        return self._settings.fingerprint

    @property
    def arithmetic(self) -> str:
        """Precision and device of the computation, such as ``float32 on cpu (ONNX Runtime)``."""
        return f"{self._settings.precision} on {self._device} (ONNX Runtime)"

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Compute the score of each pair of a query and a document.

        Args:
            pairs: Pairs of a query and a document.

        Returns:
            float32, one score for each pair.

        Raises:
            RecipeError: ``pairs`` is not a list of pairs of strings.
            CheckpointError: The graph computes NaN or infinite values.
        """
        return score_pairs(
            pairs,
            self._tokenizer,
            self._settings.max_tokens,
            self._score_batch,
            batch_tokens=_BATCH_TOKENS,
            processor=f"on {self._device} with ONNX Runtime",
        )

    def _score_batch(self, padded: PaddedPairs) -> np.ndarray:
        arrays = (padded.ids, padded.attention_mask.astype(np.int64), padded.token_type_ids)
        given = dict(zip(_INPUTS, arrays, strict=True))
        logits: np.ndarray = self._session.run(["logits"], {name: given[name] for name in self._inputs})[0]
        if not np.isfinite(logits).all():
            raise CheckpointError(f"{self._name} produces NaN or infinite values. Export the model again")
        if self._settings.activation == "identity":
            return logits
        tails = np.exp(-np.abs(logits))  # at most 1: exp(-logits) overflows for logits below -88
        scores: np.ndarray = np.where(logits >= 0, 1, tails) / (1 + tails)
        return scores
