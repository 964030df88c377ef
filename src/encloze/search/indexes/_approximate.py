"""Base class and builder of the indexes that find approximate nearest neighbors with FAISS.

The folder of such an index holds the float32 embeddings of a flat index, a file of FAISS with the compressed vectors
and the graph or the lists that select candidates, and ``approximate.json`` with what was built. Scores are always exact
inner products with the float32 embeddings.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import numpy as np

from encloze import progress
from encloze.data.records import Representation, SearchResults
from encloze.search.exact_dense import EMBEDDINGS, open_embeddings, read_embeddings, require_dense
from encloze.search.indexes._approximate_search import ApproximateSearcher
from encloze.search.indexes._faiss_files import map_faiss, read_faiss, require_file
from encloze.search.indexes._storage import pq_bytes
from encloze.search.indexes._tuning import Tuned, tune
from encloze.search.indexes.base import Index
from encloze.search.indexes.flat import FlatBuilder
from encloze.search.npy_files import damaged
from encloze.search.segment import Segment
from encloze.settings import PositiveInt, Range
from encloze.storage.json_files import read_json, write_json
from encloze.storage.verified import check_once

_DESCRIPTION = "approximate.json"
MIN_DOCUMENTS = 5000
"""Collections with fewer documents are searched exactly: FAISS needs more to learn from, and would save little time."""
ADDED_AT_ONCE = 16_384  # documents read from the file of embeddings and added to FAISS at a time
_SEED = 0

Storage = Literal["float32", "fp16", "int8", "pq", "rabitq"]


class Description(TypedDict):
    """Content of ``approximate.json``."""

    documents: int
    built: dict[str, Any]
    """Settings that cannot be changed after the index has been built."""
    is_exact: bool
    """Whether the collection is too small for FAISS."""
    target_recall: float | None
    tuned: int | None
    """Value of the setting that was tuned to reach the target; None without a target."""
    recall: float | None
    """Recall@10 with this value, measured on perturbed documents."""


@dataclass(frozen=True)
class ApproximateIndex(Index):
    """Base class of the indexes that find approximate nearest neighbors with FAISS."""

    input_type: ClassVar[Literal["text", "dense", "sparse"]] = "dense"
    title: ClassVar[str]
    """Name of the index with its article, for messages: ``an ivf``."""
    file: ClassVar[str]
    """File that FAISS writes into the folder of the index."""
    tuned: ClassVar[str]
    """Setting that trades recall for speed: a higher value finds more of the nearest neighbors and takes longer."""
    fixed: ClassVar[tuple[str, ...]]
    """Settings that cannot be changed after the index has been built."""
    min_documents: ClassVar[int] = MIN_DOCUMENTS

    storage: Storage = "int8"
    """How FAISS stores the vectors: ``float32`` (4 bytes per dimension), ``fp16`` (2), ``int8`` (1), ``pq`` (product
    quantization, a quarter of a byte), or ``rabitq`` (an eighth of a byte; only ivf)."""
    rescoring: Annotated[float, Range(ge=1)] = 1.5
    """Number of candidates that are rescored with exact inner products, as a multiple of the number of documents that
    a search returns."""
    dim: PositiveInt | None = None
    """Number of first dimensions that FAISS stores and compares, by default all. For models that were trained so that
    the first dimensions suffice (Matryoshka). Candidates are rescored with all dimensions: set a higher rescoring."""
    target_recall: Annotated[float, Range(gt=0, lt=1)] | None = None
    """Recall@10 compared with exact search, such as 0.99. If set, the build chooses the smallest ``ef_search`` of hnsw,
    or ``probes`` of ivf, that reaches it on perturbed documents of the collection."""

    @abstractmethod
    def create(self, embeddings: np.ndarray, sample: np.ndarray) -> Any:
        """Return a FAISS index of the documents, trained on a sample of them.

        Args:
            embeddings: The memory-mapped embeddings, float32, ``(documents, dim)``.
            sample: The sample, float32, ``(size, dim)``.
        """

    @abstractmethod
    def sample_size(self, num_documents: int) -> int:
        """Return the number of documents to train on."""

    @abstractmethod
    def search_parameters(self, value: int, ratio: float, selector: Any) -> Any:
        """Return the search parameters of FAISS.

        Args:
            value: Value of the setting that is tuned.
            ratio: Fraction of the documents that may be returned, from 0 to 1.
            selector: ``faiss.IDSelector`` of these documents; None if all may be returned.
        """

    @abstractmethod
    def largest(self, index: Any) -> int:
        """Return the largest useful value of the setting that is tuned."""

    @abstractmethod
    def fault(self, index: Any, num_documents: int, dim: int) -> str:
        """Return why the content of a FAISS file is not the index of these settings; an empty string if it is.

        A file with a fault may make a search fail or crash.
        """

    @abstractmethod
    def value(self, index: Any) -> int:
        """Return the value of the setting that is tuned, as the settings contain it or by the size of the index."""

    def sample_bytes(self, documents: int, dim: int) -> int:
        """Return the bytes of the training sample and of the batch that is added, in float32."""
        stored = min(self.dim or dim, dim)
        return 4 * stored * (min(documents, self.sample_size(documents)) + min(documents, ADDED_AT_ONCE))

    def cut(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the dimensions of embeddings that FAISS stores."""
        return embeddings[:, : self.dim]

    def searcher(self, embeddings: np.ndarray, index: Any, value: int) -> ApproximateSearcher:
        """Return a searcher over embeddings and their FAISS index (None: exact), with a value of the tuned setting."""
        parameters = functools.partial(self.search_parameters, value)
        return ApproximateSearcher(self.title, embeddings, index, parameters, self.rescoring, self.dim)

    def builder(self, folder: Path) -> ApproximateBuilder:
        """Return a builder that writes a new index into an existing empty folder."""
        return ApproximateBuilder(self, folder)

    def open(self, folder: Path) -> ApproximateSearcher:
        """Return a searcher over the index in ``folder``.

        Raises:
            CheckpointError: A file is missing or damaged.
            ValueError: A setting differs from the one that the index was built with, and cannot be changed.
        """
        embeddings, stored = open_embeddings(folder), read_json(folder / _DESCRIPTION, Description)
        num_documents, dim = self.cut(embeddings).shape
        if stored["documents"] != num_documents:
            raise damaged(folder / EMBEDDINGS, f"expected {stored['documents']} documents, found {num_documents}")
        if stored["is_exact"]:
            return self.searcher(embeddings, None, 0)
        for name in self.fixed:
            if getattr(self, name) != stored["built"].get(name):
                raise ValueError(
                    f"the index was built with {name} {stored['built'].get(name)}, which cannot be changed to "
                    f"{getattr(self, name)}. Keep it, or build the index again"
                )
        file = folder / self.file
        built = [getattr(self, name) for name in self.fixed]

        def check() -> None:
            index = read_faiss(file, num_documents, dim)
            if fault := self.fault(index, num_documents, dim):
                raise damaged(file, fault)

        require_file(file)
        check_once(f"{self.name} {built} {num_documents} {dim}", [file], check)
        index = map_faiss(file)
        value = self.value(index) if self.target_recall is None else self._tuned_value(folder, stored)
        return self.searcher(embeddings, index, value)

    def memory(self, folder: Path) -> int:
        """Return the bytes of the FAISS file; the float32 embeddings are only read to rescore candidates."""
        file = folder / self.file
        return file.stat().st_size if file.is_file() else super().memory(folder)

    def read(self, segment: Segment) -> Iterator[Representation]:
        """Yield the embeddings of the documents that have not been deleted (see ``Index.read``)."""
        return read_embeddings(segment)

    def _tuned_value(self, folder: Path, stored: Description) -> int:
        """Return the value that was chosen for the target recall.

        Raises:
            ValueError: The index was not tuned for the target.
        """
        if stored["target_recall"] != self.target_recall or stored["tuned"] is None:
            target = stored["target_recall"]
            raise ValueError(
                f"the index was built {f'for target_recall {target}' if target else 'without target_recall'}. Set "
                f"{self.tuned} instead of target_recall, or build the index again"
            )
        if not 1 <= stored["tuned"] < 2**31:
            raise damaged(folder / _DESCRIPTION, f"tuned is {stored['tuned']}")
        return stored["tuned"]


class ApproximateBuilder:
    """Builder of an approximate index.

    ``add`` appends embeddings to a file; ``finish`` trains FAISS on a sample of the file and adds the documents in
    batches. In memory are a batch, the sample and the FAISS index.
    """

    def __init__(self, settings: ApproximateIndex, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._embeddings = FlatBuilder(folder / EMBEDDINGS)

    def add(self, documents: Iterable[str] | Representation) -> None:
        """Add the embeddings of documents.

        Raises:
            TypeError: Texts were given.
            ValueError: Embeddings have fewer dimensions than ``dim``, or a number that cannot be stored with ``pq``.
        """
        embeddings = require_dense(documents, self._settings.title)
        stored = self._settings.cut(embeddings).shape[1]
        if self._settings.dim and stored < self._settings.dim:
            raise ValueError(f"dim is {self._settings.dim}, and the embeddings have only {stored} dimensions")
        if self._settings.storage == "pq":
            pq_bytes(stored)
        self._embeddings.add(documents)

    def finish(self) -> None:
        """Write the index.

        Raises:
            CheckpointError: An embedding contains an infinite number or NaN.
        """
        import faiss

        self._embeddings.finish()
        if not (self._folder / EMBEDDINGS).exists():  # no document was added; opening such an index fails as for flat
            return
        settings, embeddings = self._settings, open_embeddings(self._folder)
        tuned = None
        if not (is_exact := len(embeddings) < MIN_DOCUMENTS):
            draw = np.random.default_rng(_SEED)
            size = min(len(embeddings), settings.sample_size(len(embeddings)))
            sample = settings.cut(embeddings[np.sort(draw.choice(len(embeddings), size, replace=False))])
            index = settings.create(settings.cut(embeddings), np.ascontiguousarray(sample))
            del sample
            faiss.write_index(index, str(self._folder / settings.file))
            if settings.target_recall is not None:
                tuned = self._tune(embeddings, index, settings.target_recall)
        description: Description = {
            "documents": len(embeddings),
            "built": {name: getattr(settings, name) for name in settings.fixed},
            "is_exact": is_exact,
            "target_recall": settings.target_recall,
            "tuned": tuned.value if tuned else None,
            "recall": tuned.recall if tuned else None,
        }
        write_json(self._folder / _DESCRIPTION, description)

    def _tune(self, embeddings: np.ndarray, index: Any, target: float) -> Tuned:
        """Return the value of the setting that is tuned, and report the recall that it reaches."""
        settings = self._settings

        def search(value: int, queries: np.ndarray, depth: int) -> SearchResults:
            return settings.searcher(embeddings, index, value).search(Representation(dense=queries), depth)

        tuned = tune(search, embeddings, target, settings.largest(index), _SEED)
        reached = f"{settings.name}: {settings.tuned} {tuned.value} reaches recall@10 {tuned.recall:.3f}"
        if tuned.recall >= target:
            progress.note(f"{reached} (target {target:g})")
        else:
            progress.warn(
                f"{reached}, below the target {target:g}. Set a higher rescoring, a storage with more bytes than "
                f"{settings.storage}, or more neighbors (hnsw)"
            )
        return tuned


def add_in_batches(index: Any, embeddings: np.ndarray, title: str) -> None:
    """Add embeddings, which may be memory-mapped, to a FAISS index."""
    with progress.task(title, len(embeddings), "documents") as bar:
        for start in range(0, len(embeddings), ADDED_AT_ONCE):
            batch = np.ascontiguousarray(embeddings[start : start + ADDED_AT_ONCE])
            index.add(batch)
            bar.advance(len(batch))
