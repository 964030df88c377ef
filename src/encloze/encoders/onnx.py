"""The onnx backend: models that encloze export wrote, which run on ONNX Runtime, without PyTorch and transformers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from encloze import recipe
from encloze.data.records import Representation
from encloze.encoders.base import Encoder, EncoderBackend, Precision
from encloze.errors import CheckpointError, RecipeError
from encloze.similarity import Similarity
from encloze.storage.atomic import atomic_folder
from encloze.storage.json_files import read_json
from encloze.storage.model_folders import locate
from encloze.storage.names import MANIFEST, ONNX_ENCODER
from encloze.text.encoding import UNITS, Side, TextKind, concatenated, count_tokens, encode_texts
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import own_tokens, pad_texts

_BATCH_TOKENS = 2048
_BATCH_LOGITS = 2**26  # float32 numbers: 256 MiB
_VERSION = 1


@dataclass(frozen=True)
class OnnxSettings:
    """Content of onnx_encoder.json: how an exported model encodes texts. Shapes and pooling are in its graphs."""

    name: str
    """Name of the model that was exported."""
    fingerprint: str
    """Fingerprint of the exported model. Models of lower precision than float32 have one of their own."""
    precision: str
    """Precision of the weights: ``float32`` or ``int8``."""
    views: dict[str, int]
    """Number of dimensions of each kind of vector."""
    similarity: dict[str, Any]
    """Arguments of ``Similarity``."""
    graphs: dict[str, str]
    """File of the graph that encodes texts of each side: ``query`` and ``document``."""
    prompts: dict[str, str]
    """Text put in front of every text of each side."""
    max_tokens: dict[str, int]
    """Maximum length of texts of each side, in tokens."""

    def __post_init__(self) -> None:
        for name in ("graphs", "prompts", "max_tokens"):
            if set(getattr(self, name)) != set(get_args(Side)):
                raise ValueError(f"{name} must have the keys query and document")
        if not self.views or not set(self.views) <= {"dense", "sparse"}:
            raise ValueError("views must be dense, sparse or both")
        if any(Path(file).name != file for file in self.graphs.values()):
            raise ValueError("graphs must be names of files in the folder")

    @classmethod
    def read(cls, folder: Path) -> OnnxSettings:
        """Return the settings in a folder. Raises CheckpointError if they are malformed."""
        file = folder / ONNX_ENCODER
        values = dict(read_json(file))
        try:
            if (version := values.pop("encloze_onnx", None)) != _VERSION:
                raise ValueError(f"encloze_onnx is {version!r}, but this version of encloze reads {_VERSION}")
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{file} is malformed: {error}. Export the model again") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {"encloze_onnx": _VERSION, **vars(self)}


class OnnxEncoder(Encoder):
    """A bi-encoder that runs on ONNX Runtime."""

    def __init__(self, folder: Path, name: str, device: str | None = None) -> None:
        """Open the graphs of an exported model.

        Args:
            folder: The folder.
            name: Name that the encoder was loaded by.
            device: ``cpu`` or ``cuda``; by default the CPU.

        Raises:
            CheckpointError: A file is missing or damaged.
            RecipeError: ONNX Runtime does not support the device.
        """
        self.folder, self._name, self._settings = folder, name, OnnxSettings.read(folder)
        self._tokenizer = Tokenizer.load(folder)
        self._device, self._providers = _providers(device)
        self._sessions = dict[str, Any]()
        self._prompt_ids = {
            side: self._tokenizer.encode([prompt])[0].ids.astype(np.int64)
            for side, prompt in self._settings.prompts.items()
        }
        self._similarity = Similarity(**self._settings.similarity)

    @property
    def name(self) -> str:
        return self._name

    @property
    def fingerprint(self) -> str:
        return self._settings.fingerprint

    @property
    def arithmetic(self) -> str:
        return f"{self._settings.precision} on {self._device} (ONNX Runtime)"

    @property
    def views(self) -> dict[str, int]:
        return self._settings.views

    @property
    def similarity(self) -> Similarity:
        return self._similarity

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return concatenated(self._encode(texts, len(texts), "query"), self.views)

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        return self._encode(texts, count, "document")

    def term_names(self, terms: Sequence[int] | np.ndarray) -> list[str]:
        return [self._tokenizer.backend.id_to_token(int(term)) or str(term) for term in terms]

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        output: Path = recipe.coerce(Path, folder, source="save_pretrained", name="folder")
        with atomic_folder(output, overwrite=overwrite) as staging:
            shutil.copytree(self.folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))

    def count_tokens(self, texts: Sequence[str], side: Side) -> int:
        return count_tokens(texts, self._kind(side), self._tokenizer)

    def _kind(self, side: Side) -> TextKind:
        limit = self._settings.max_tokens[side]
        return TextKind(UNITS[side], self._settings.prompts[side], limit, f"max_{side}_tokens of {self._name}")

    def _encode(self, texts: Iterable[str], count: int, side: Side) -> Iterator[Representation]:
        return encode_texts(
            texts,
            count,
            self._kind(side),
            self._tokenizer,
            self.views,
            lambda batch: self._encode_batch(batch, side),
            batch_tokens=self._batch_tokens,
            processor=f"on {self._device} with ONNX Runtime",
        )

    @cached_property
    def _batch_tokens(self) -> int:
        """Maximum number of tokens of a batch. The graph computes the logits of all tokens of a batch at once."""
        vocabulary = self.views.get("sparse", 1)
        return max(1, min(_BATCH_TOKENS, _BATCH_LOGITS // vocabulary))

    def _encode_batch(self, texts: list[Encoded], side: Side) -> Representation:
        padded = pad_texts(texts, self._tokenizer, self._settings.max_tokens[side])
        own = own_tokens(padded, self._prompt_ids[side], len(self._tokenizer.template.before))
        given = {
            "input_ids": padded.ids,
            "attention_mask": padded.attention_mask.astype(np.int64),
            "own_tokens": own.astype(np.int64),
        }
        session = self._session(side)
        names = [*self.views]
        outputs = session.run(names, {one.name: given[one.name] for one in session.get_inputs()})
        if not all(np.isfinite(output).all() for output in outputs):
            raise CheckpointError(f"{self._name} produces NaN or infinite values. Export the model again")
        of_view = dict(zip(names, outputs, strict=True))
        if "sparse" in of_view:
            from scipy.sparse import csr_matrix  # a search with embeddings does not need it

            of_view["sparse"] = csr_matrix(of_view["sparse"])
        return Representation(of_view.get("dense"), of_view.get("sparse"))

    def _session(self, side: Side) -> Any:
        """Return the session of a graph. It is opened when it is first needed: a search needs only that of queries."""
        file = self._settings.graphs[side]
        if file not in self._sessions:
            self._sessions[file] = _open(self.folder / file, self._providers, self.views)
        return self._sessions[file]


def _open(file: Path, providers: list[str], views: dict[str, int]) -> Any:
    import onnxruntime as runtime  # a search with BM25 does not need it

    options = runtime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would use the processor
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many classes
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{file} cannot be loaded: {reason}. Export the model again") from error
    known = {"input_ids", "attention_mask", "own_tokens"}
    found, outputs = ({one.name for one in some} for some in (session.get_inputs(), session.get_outputs()))
    if not found <= known or not outputs >= set(views):
        raise CheckpointError(
            f"{file} is a graph of another program: it reads {', '.join(sorted(found))} and returns "
            f"{', '.join(sorted(outputs))}. Export the model with encloze export"
        )
    return session


def _providers(device: str | None) -> tuple[str, list[str]]:
    from onnxruntime import get_available_providers

    kind, available = (device or "cpu").partition(":")[0], get_available_providers()
    name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if name not in available:
        message = f"ONNX Runtime does not support {device!r} here. It supports {', '.join(available)}"
        raise RecipeError("the model", [("device", message)])
    return kind, [str(name)]


@dataclass(frozen=True)
class Onnx(EncoderBackend, name="onnx"):
    """Backend for models that encloze export wrote, on ONNX Runtime. It needs no PyTorch."""

    def load(self, name: str, *, device: str | None, precision: Precision) -> Encoder:
        folder = locate(name)
        if not (folder / ONNX_ENCODER).is_file():
            raise CheckpointError(f"{folder} has no {ONNX_ENCODER}: it is no folder that encloze export wrote")
        encoder = OnnxEncoder(folder, name, device)
        stored = encoder.arithmetic.partition(" ")[0]
        if precision not in ("auto", stored):
            message = f"{name} was exported in {stored}, and cannot be used in {precision}"
            raise RecipeError("the model", [("precision", message)])
        return encoder
