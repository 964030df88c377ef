"""A cross-encoder: a model that encodes a query and a document together and returns one score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from encloze.backbones.hf.classification import is_sequence_classifier, load_cross_encoder
from encloze.backbones.hf.forward import disable_autocast
from encloze.backbones.hf.inference import InferenceCopy
from encloze.backbones.hf.limits import max_input_tokens
from encloze.backbones.hf.loading import quiet_transformers
from encloze.backbones.hf.smaller_models import with_fewer_layers
from encloze.calibration import Calibration
from encloze.errors import CheckpointError
from encloze.models.checkpoint import load_tokenizer
from encloze.models.device import batch_tokens, resolve_device
from encloze.models.foreign_settings import ACTIVATION_CLASSES, Activation, RerankerSettings, read_reranker_settings
from encloze.models.precision import DTYPES, Precision, autocast, on_processor, resolve_precision
from encloze.storage.atomic import atomic_folder
from encloze.storage.json_files import read_json, write_json
from encloze.storage.model_folders import locate
from encloze.text.pair_scoring import score_pairs
from encloze.text.text_pairs import PaddedPairs
from encloze.text.tokenizer import Tokenizer

RERANKER_FILE = "reranker.json"
_DEFAULT_TOKENS = 512
_VERSION = 1


class ModelConfig(TypedDict):
    """The fields of a config.json that are read without transformers."""

    architectures: NotRequired[list[str] | None]


class PairBatch(NamedTuple):
    """A padded batch of pairs, each a query joined with a document, as tensors of shape pairs x length."""

    ids: Tensor
    """Token ids (int64)."""
    attention_mask: Tensor
    """True for all tokens except padding (bool)."""
    token_type_ids: Tensor
    """Token type ids (int64). Many tokenizers use 0 for tokens of the query and 1 for tokens of the document."""

    @classmethod
    def from_padded(cls, padded: PaddedPairs, device: torch.device) -> PairBatch:
        """Create a batch of tensors on a device from padded pairs."""
        arrays = (padded.ids, padded.attention_mask, padded.token_type_ids)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


class CrossEncoder(nn.Module):
    """A transformers model for sequence classification with one label, and its tokenizer.

    The layers above the encoder always compute in float32, because bfloat16 scores have about three significant digits,
    which causes many ties.

    Args:
        model: A ForSequenceClassification model with one label.
        tokenizer: Its tokenizer.
        max_tokens: The length to which a query and a document together are truncated.
        activation: Function of the logit that gives the score: ``identity`` or ``sigmoid``.

    Example:
        >>> reranker = CrossEncoder.from_pretrained("my_reranker", device="cpu")
        >>> reranker.score([("where do rivers end", "Rivers flow into the sea.")]).shape
        (1,)
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, max_tokens: int, activation: Activation = "identity") -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_tokens, self.activation = model, tokenizer, max_tokens, activation
        self.name = ""
        self.calibration: Calibration | None = None
        self.precision: Precision = "auto"
        for part in model.children():
            if part is not model.base_model:
                disable_autocast(part)
        self._inference = InferenceCopy()
        self._has_token_types = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1

    @classmethod
    def load(
        cls,
        name: str,
        *,
        max_tokens: int | None = None,
        precision: str = "auto",
        device: str | torch.device | None = None,
    ) -> CrossEncoder:
        """Load a cross-encoder. An encoder without a classification head gets a randomly initialized one, with a note.

        Args:
            name: A model folder (of encloze, sentence-transformers or transformers) or an id on the Hugging Face hub.
            max_tokens: The length to which a query and a document together are truncated. By default, the length
                that the folder states (512 for an encoder without a classification head), or the encoder's limit if
                that is lower.
            precision: Precision of matrix multiplications: ``auto``, ``float32`` or ``bfloat16``.
            device: A device of torch. None: the first GPU, else the CPU.

        Returns:
            The model in evaluation mode.

        Raises:
            CheckpointError: If there is no such model, or it is damaged, or has two or more labels.
            RecipeError: If the device is unknown or not available.
            ValueError: If ``max_tokens`` exceeds the limit of the encoder.
        """
        target, folder = resolve_device(device), locate(name)
        is_trained = is_cross_encoder(name)
        model = load_cross_encoder(folder)
        tokenizer = load_tokenizer(folder, model.base_model)
        limit = max_input_tokens(model.config, model.base_model)
        settings = read_settings(folder) if is_trained else RerankerSettings("identity", None)
        if settings.max_tokens and not _states_input_names(folder):  # saved by an early version, which passed types
            tokenizer.config.pop("model_input_names")
        default = settings.max_tokens or tokenizer.max_length or limit
        default = min(default, limit) if is_trained else min(default, limit, _DEFAULT_TOKENS)
        cross_encoder = cls(model, tokenizer, max_tokens or default, settings.activation)
        if cross_encoder.max_tokens > limit:
            raise ValueError(f"max_tokens is {max_tokens}, but {name} is limited to {limit} tokens. Lower max_tokens")
        special = sum(len(tokens.ids) for tokens in tokenizer.pair_template.special_tokens)
        if cross_encoder.max_tokens < special:
            raise CheckpointError(
                f"{folder} limits pairs to {cross_encoder.max_tokens} tokens, fewer than the {special} special tokens "
                "that its tokenizer adds. Raise the limit in its files"
            )
        cross_encoder.name, cross_encoder.precision = str(name), precision  # type: ignore[assignment]
        cross_encoder.calibration = _calibration(folder / RERANKER_FILE)
        return cross_encoder.to(target).eval()

    @classmethod
    def from_pretrained(
        cls, name: str, *, precision: str = "auto", device: str | torch.device | None = None
    ) -> CrossEncoder:
        """Load a trained cross-encoder. An encoder without a classification head raises an error.

        Args:
            name: As in ``load``.
            precision: As in ``load``.
            device: As in ``load``.

        Returns:
            The model in evaluation mode.

        Raises:
            CheckpointError: As ``load``, and if the model has no classification head.
            RecipeError: If the device is unknown or not available.
        """
        if not is_cross_encoder(name):
            architectures = _architectures(name) or ["none"]
            raise CheckpointError(
                f"{name} is not a re-ranker (architectures in its config.json: {', '.join(architectures)}). Train one "
                "with finetune_reranker"
            )
        return cls.load(name, precision=precision, device=device)

    def with_layers(self, count: int) -> CrossEncoder:
        """Return a copy with ``count`` layers, evenly spaced. Raises ValueError if there are fewer layers."""
        return CrossEncoder(with_fewer_layers(self.model, count), self.tokenizer, self.max_tokens, self.activation)

    def forward(self, pairs: PairBatch) -> Tensor:
        """Return one logit for each pair of a batch (float32)."""
        return self._logits(self.model, pairs)

    def _logits(self, model: Any, pairs: PairBatch) -> Tensor:
        types = {"token_type_ids": pairs.token_type_ids} if self._has_token_types else {}
        logits: Tensor = model(input_ids=pairs.ids, attention_mask=pairs.attention_mask.long(), **types).logits
        return logits[:, 0].float()

    def _inference_logits(self, pairs: PairBatch) -> Tensor:
        device = pairs.ids.device
        fast = self._inference.of(self.model, DTYPES[resolve_precision(self.precision, device)])
        if fast is not self.model:
            return self._logits(fast, pairs)
        with autocast(self.precision, device):
            return self._logits(self.model, pairs)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a model folder that ``from_pretrained``, transformers and sentence-transformers load.

        Args:
            folder: The folder to write. It appears only once it is complete.
            overwrite: Whether a model folder that encloze wrote may be replaced.

        Raises:
            StorageError: If the folder exists and must not be replaced, or the disk is full.
        """
        with atomic_folder(Path(folder), overwrite=overwrite) as staging:
            self.save(staging)

    def save(self, folder: Path) -> None:
        """Write a model folder for transformers, sentence-transformers and ``load``. The folder must exist.

        A score calibration that was loaded with the model is not saved: it was fitted to the model's scores before
        it was trained further, and may be wrong for the trained model.
        """
        self.model.config.sentence_transformers = {"activation_fn": ACTIVATION_CLASSES[self.activation]}
        with quiet_transformers():
            self.model.save_pretrained(folder)
        self.tokenizer.save(folder, self.max_tokens)
        write_json(folder / RERANKER_FILE, _plain(RerankerSettings(self.activation, self.max_tokens)))

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Compute the score of each pair of a query and a document.

        Args:
            pairs: Pairs of a query and a document.

        Returns:
            float32, one score for each pair.

        Raises:
            RecipeError: ``pairs`` is not a list of pairs of strings.
        """
        self.eval()
        device = next(self.parameters()).device

        def score_batch(padded: PaddedPairs) -> np.ndarray:
            logits = self._inference_logits(PairBatch.from_padded(padded, device))
            scores: np.ndarray = (logits.sigmoid() if self.activation == "sigmoid" else logits).cpu().numpy()
            return scores

        return score_pairs(
            pairs,
            self.tokenizer,
            self.max_tokens,
            score_batch,
            batch_tokens=batch_tokens(device),
            processor=on_processor(device),
        )


def is_cross_encoder(name: str) -> bool:
    """Return whether a model is a sequence classification model, according to its config.json.

    Args:
        name: A model folder or an id on the Hugging Face hub.

    Raises:
        CheckpointError: If there is no such model.
    """
    return is_sequence_classifier(_architectures(name))


def _architectures(name: str) -> list[str]:
    config: ModelConfig = read_json(locate(name) / "config.json", ModelConfig)
    return config.get("architectures") or []


def read_settings(folder: Path) -> RerankerSettings:
    """Read the activation and the length limit of a cross-encoder: from reranker.json, or from the files of others.

    Raises:
        CheckpointError: If a file is damaged, or has a field that encloze does not support.
    """
    if not (folder / RERANKER_FILE).is_file():
        return read_reranker_settings(folder)
    values = _read_own(folder / RERANKER_FILE)
    return RerankerSettings(values.get("activation", "identity"), values.get("max_tokens"))


def _states_input_names(folder: Path) -> bool:
    file = folder / "tokenizer_config.json"
    is_own = (folder / RERANKER_FILE).is_file() and file.is_file()
    return not is_own or "model_input_names" in read_json(file)


def settings_to_save(folder: Path) -> dict[str, Any]:
    """Return the content of reranker.json for a copy of a cross-encoder's folder."""
    file = folder / RERANKER_FILE
    return _read_own(file) if file.is_file() else _plain(read_reranker_settings(folder))


def _plain(settings: RerankerSettings) -> dict[str, Any]:
    """Return the content of reranker.json; default values are left out, as they were before they existed."""
    limit = {} if settings.max_tokens is None else {"max_tokens": settings.max_tokens}
    activation = {} if settings.activation == "identity" else {"activation": settings.activation}
    return {"encloze": _VERSION, **limit, **activation}


def _calibration(file: Path) -> Calibration | None:
    values = _read_own(file).get("calibration") if file.is_file() else None
    try:
        return None if values is None else Calibration.from_dict(values)
    except ValueError as error:
        raise CheckpointError(f"{file}: calibration is malformed: {error}. Run calibrate again") from error


def _read_own(file: Path) -> dict[str, Any]:
    """Read a reranker.json."""
    values: dict[str, Any] = read_json(file)
    limit, activation, faults = values.get("max_tokens"), values.get("activation", "identity"), list[str]()
    if (version := values.get("encloze", _VERSION)) != _VERSION:
        faults.append(f"encloze is {version!r}, but this version of encloze reads {_VERSION}")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        faults.append(f"max_tokens is {limit!r}, not a number of tokens")
    if activation not in tuple(ACTIVATION_CLASSES):
        faults.append(f"activation is {activation!r}, not one of {', '.join(ACTIVATION_CLASSES)}")
    if faults:
        raise CheckpointError(f"{file} is malformed: {'; '.join(faults)}. Restore the file written by encloze")
    return values
