"""The sentence_transformers backend: folders and hub models that run in the library sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from encloze import recipe
from encloze.calibration import Calibration
from encloze.data.records import Representation
from encloze.data.text_arguments import text_pairs
from encloze.encoders.base import Encoder, EncoderBackend, Precision, Reranker, Scorer
from encloze.errors import CheckpointError, MissingExtraError, importable
from encloze.similarity import Similarity
from encloze.storage.atomic import atomic_folder
from encloze.storage.hashes import hash_tree
from encloze.storage.json_files import read_json
from encloze.storage.model_folders import locate
from encloze.text.encoding import WINDOW, Side, concatenated

_OLDEST = 6


def import_library() -> Any:
    """Return the library sentence-transformers. Raises MissingExtraError if version 6 or newer is not installed."""
    library: Any = importable("sentence_transformers", "export")
    if int(library.__version__.partition(".")[0]) < _OLDEST:
        raise MissingExtraError(
            f"this needs sentence-transformers {_OLDEST} or newer, but {library.__version__} is installed. Install it: "
            "pip install 'encloze[export]'"
        )
    return library


class SentenceTransformersEncoder(Encoder):
    """A SentenceTransformer or a SparseEncoder of sentence-transformers, which is the attribute ``model``."""

    def __init__(self, model: Any, name: str, folder: Path) -> None:
        """Wrap a model of the library.

        Args:
            model: The model.
            name: Name that it was loaded by.
            folder: Its folder.

        Raises:
            CheckpointError: Its similarity function is not the inner product or the cosine of dense vectors.
        """
        self.model, self._name, self._folder = model, name, folder
        self._is_sparse = model.model_type == "SparseEncoder"
        function = model.similarity_fn_name
        if function not in (("dot",) if self._is_sparse else ("dot", "cosine")):
            raise CheckpointError(
                f"{name}: similarity_fn_name is {function}, which encloze does not support. Use a model with dot "
                "(or cosine, for embeddings)"
            )
        self._similarity = Similarity(cosine=function == "cosine")

    @property
    def name(self) -> str:
        return self._name

    @cached_property
    def fingerprint(self) -> str:
        return hash_tree(self._folder)[:16]

    @property
    def arithmetic(self) -> str:
        return f"{_dtype(self.model)} on {self.model.device.type} (sentence-transformers)"

    @property
    def views(self) -> dict[str, int]:
        if self._is_sparse:
            return {"sparse": int(self.model.transformers_model.config.vocab_size)}
        return {"dense": int(self.model.get_embedding_dimension())}

    @property
    def similarity(self) -> Similarity:
        return self._similarity

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return concatenated(self._encode(texts, self.model.encode_query), self.views)

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        return self._encode(texts, self.model.encode_document)

    def term_names(self, terms: Sequence[int] | np.ndarray) -> list[str]:
        names = self.model.tokenizer.convert_ids_to_tokens([int(term) for term in terms])
        return [name or str(term) for name, term in zip(names, terms, strict=True)]

    def count_tokens(self, texts: Sequence[str], side: Side) -> int:
        prompt = self.model.prompts.get(side) or None
        return sum(int(self.model.preprocess([text], prompt, task=side)["attention_mask"].sum()) for text in texts)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        output: Path = recipe.coerce(Path, folder, source="save_pretrained", name="folder")
        with atomic_folder(output, overwrite=overwrite) as staging:
            self.model.save_pretrained(str(staging))

    def _encode(self, texts: Iterable[str], encode: Any) -> Iterator[Representation]:
        """Encode texts with a method of the library, a few thousand at a time."""
        rest = iter(texts)
        while part := list(islice(rest, WINDOW)):
            vectors = encode(part, show_progress_bar=False)
            if self._is_sparse:
                found = Representation(None, _to_csr(vectors))
            else:
                found = Representation(np.asarray(vectors, np.float32))
            if not np.isfinite(found.sparse.data if self._is_sparse else found.dense).all():
                raise CheckpointError(
                    f"{self._name} produces NaN or infinite values: its weights are damaged. Restore the files"
                )
            yield found


class SentenceTransformersReranker:
    """A CrossEncoder of sentence-transformers, which is the attribute ``model``, with the protocol ``Reranker``."""

    calibration: Calibration | None = None

    def __init__(self, model: Any, name: str) -> None:
        """Wrap a model of the library.

        Args:
            model: The model.
            name: Name that it was loaded by.

        Raises:
            CheckpointError: It has several labels, or its activation is not Identity or Sigmoid.
        """
        self.model, self._name = model, name
        self._activation = type(model.activation_fn).__name__.lower()
        if self._activation not in ("identity", "sigmoid") or model.num_labels != 1:
            raise CheckpointError(
                f"{name} has {model.num_labels} labels and the activation {self._activation}, but a re-ranker has one "
                "label and the activation Identity or Sigmoid. Use another model"
            )

    @property
    def name(self) -> str:
        """Name that the re-ranker was loaded by."""
        return self._name

    @property
    def activation(self) -> str:
        """Function of the logit that gives the score: ``identity`` or ``sigmoid``."""
        return self._activation

    @property
    def arithmetic(self) -> str:
        """Precision and device of the computation, such as ``float32 on cpu (sentence-transformers)``."""
        return f"{_dtype(self.model)} on {self.model.device.type} (sentence-transformers)"

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Compute the score of each pair of a query and a document.

        Args:
            pairs: Pairs of a query and a document.

        Returns:
            float32, one score for each pair.

        Raises:
            RecipeError: ``pairs`` is not a list of pairs of strings.
        """
        checked = text_pairs(pairs, "score", "pairs")
        if not checked:
            return np.zeros(0, np.float32)
        return np.asarray(self.model.predict(checked, show_progress_bar=False), np.float32)


@dataclass(frozen=True)
class SentenceTransformers(EncoderBackend, name="sentence_transformers"):
    """Backend for folders of sentence-transformers, which the library itself loads and runs.

    encloze loads such folders by its backend torch, too, and computes the same vectors.
    """

    def load(self, name: str, *, device: str | None, precision: Precision) -> Encoder:
        library, folder = import_library(), locate(name)
        from encloze.models.folder_fields import MODULES_FILE, PROMPTS_FILE

        if not (folder / MODULES_FILE).is_file():
            raise CheckpointError(
                f"{name} has no {MODULES_FILE}, so it is no encoder of sentence-transformers. Write one with encloze "
                "export, or use the backend torch"
            )
        saved = read_json(folder / PROMPTS_FILE) if (folder / PROMPTS_FILE).is_file() else {}
        kind = library.SparseEncoder if saved.get("model_type") == "SparseEncoder" else library.SentenceTransformer
        return SentenceTransformersEncoder(_load(kind, folder, device, precision), name, folder)

    def load_scorer(self, name: str, *, device: str | None, precision: Precision) -> Scorer:
        return self.load_reranker(name, device=device, precision=precision)

    def load_reranker(self, name: str, *, device: str | None, precision: Precision) -> Reranker:
        library, folder = import_library(), locate(name)
        from encloze.models.cross_encoder import is_cross_encoder

        if not is_cross_encoder(name):
            raise CheckpointError(f"{name} is an encoder, and only re-rankers score pairs of texts. Give a re-ranker")
        return SentenceTransformersReranker(_load(library.CrossEncoder, folder, device, precision), name)


def _load(kind: Any, folder: Path, device: str | None, precision: Precision) -> Any:
    """Load a model with a class of the library. Raises CheckpointError if it cannot be loaded."""
    from encloze.backbones.hf.loading import loading
    from encloze.models.precision import DTYPES

    given = {} if precision == "auto" else {"model_kwargs": {"dtype": DTYPES[precision]}}
    with loading(folder, f"a {kind.__name__} of sentence-transformers"):
        return kind(str(folder), device=device, local_files_only=True, **given)


def _to_csr(vectors: Any) -> Any:
    """Return term weights (a sparse tensor of torch, texts x vocabulary) as a sparse matrix of scipy."""
    from scipy.sparse import csr_matrix

    of_texts = vectors.coalesce().cpu()
    places = tuple(of_texts.indices().int().numpy())
    return csr_matrix((of_texts.values().float().numpy(), places), tuple(vectors.shape))


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
