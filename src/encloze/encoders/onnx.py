"""The onnx backend: models that encloze export wrote, which run on ONNX Runtime, without PyTorch and transformers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from encloze import recipe
from encloze.data.records import Representation
from encloze.encoders._onnx_reranker import OnnxReranker
from encloze.encoders._onnx_session import open_session, providers_of
from encloze.encoders._onnx_settings import OnnxEncoderSettings
from encloze.encoders.base import Encoder, EncoderBackend, Precision, Reranker, Scorer
from encloze.errors import CheckpointError, RecipeError
from encloze.similarity import Similarity
from encloze.storage.atomic import atomic_folder
from encloze.storage.model_folders import locate
from encloze.storage.names import MANIFEST, ONNX_ENCODER, ONNX_RERANKER
from encloze.text.encoding import UNITS, Side, TextKind, concatenated, count_tokens, encode_texts
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import own_tokens, pad_texts

_BATCH_TOKENS = 2048
_BATCH_LOGITS = 2**26  # float32 numbers: 256 MiB
_INPUTS = ("input_ids", "attention_mask", "own_tokens")


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
        self.folder, self._name, self._settings = folder, name, OnnxEncoderSettings.read(folder)
        self._tokenizer = Tokenizer.load(folder)
        self._device, self._providers = providers_of(device)
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
            self._sessions[file] = open_session(self.folder / file, self._providers, _INPUTS, self.views)
        return self._sessions[file]


@dataclass(frozen=True)
class Onnx(EncoderBackend, name="onnx"):
    """Backend for models that encloze export wrote, on ONNX Runtime. It needs no PyTorch."""

    def load(self, name: str, *, device: str | None, precision: Precision) -> Encoder:
        encoder = OnnxEncoder(_exported(name, ONNX_ENCODER), name, device)
        _check_precision(encoder, precision)
        return encoder

    def load_scorer(self, name: str, *, device: str | None, precision: Precision) -> Scorer:
        return self.load_reranker(name, device=device, precision=precision)

    def load_reranker(self, name: str, *, device: str | None, precision: Precision) -> Reranker:
        reranker = OnnxReranker(_exported(name, ONNX_RERANKER), name, device)
        _check_precision(reranker, precision)
        return reranker


def _exported(name: str, settings: str) -> Path:
    """Return the folder of an export that has a settings file. Raises CheckpointError if it has another one or none."""
    folder = locate(name)
    if (folder / settings).is_file():
        return folder
    if settings == ONNX_ENCODER and (folder / ONNX_RERANKER).is_file():
        raise CheckpointError(
            f"{name} is an exported re-ranker, which scores pairs of texts and has no embeddings. Give an encoder"
        )
    if (folder / ONNX_ENCODER).is_file():
        raise CheckpointError(
            f"{name} is an exported encoder, and only exported re-rankers score pairs of texts. Give a re-ranker, or "
            "export one"
        )
    raise CheckpointError(f"{folder} has no {settings}: it is no folder that encloze export wrote")


def _check_precision(model: OnnxEncoder | OnnxReranker, precision: Precision) -> None:
    stored = model.arithmetic.partition(" ")[0]
    if precision not in ("auto", stored):
        message = f"{model.name} was exported in {stored}, and cannot be used in {precision}"
        raise RecipeError("the model", [("precision", message)])
