"""Approximate search over embeddings with an inverted file: lists of the documents nearest to each centroid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from encloze.search.indexes._approximate import ApproximateIndex, add_in_batches
from encloze.search.indexes._faiss_files import lists_fault, product_fault, quantizer_fault, scalar_fault
from encloze.search.indexes._storage import PQ_BITS, load_faiss, pq_bytes, pq_fixed_bytes, pq_work, scalar_kind
from encloze.search.indexes.base import Growth
from encloze.settings import PositiveInt

_SAMPLE_PER_LIST = 64
_MIN_SAMPLE_PER_LIST = 39  # FAISS warns about fewer
_SAMPLE_SIZE = 65_536
_QUERY_BITS = 8  # of rabitq
_ITERATIONS, _MAX_SAMPLE_PER_LIST = 10, 256  # of k-means in FAISS
_PROBED = 1 / 8  # default share of the lists that a search reads


@dataclass(frozen=True)
class Ivf(ApproximateIndex, name="ivf"):
    """IVF index: candidates from the lists of the centroids nearest to the query, rescored exactly.

    The lists take 8 and, with int8, ``dim`` bytes per document, in addition to the memory-mapped float32 embeddings.
    The same documents give the same index on the same machine with the same number of threads.

    Example:
        >>> from encloze.data.records import Representation
        >>> embeddings = np.eye(3, dtype=np.float32)
        >>> Ivf(target_recall=0.99).build(Representation(dense=embeddings), folder)
        >>> Ivf(target_recall=0.99).open(folder).search(Representation(dense=embeddings[:1]), depth=1).numbers
        array([[0]])
    """

    title: ClassVar[str] = "an ivf"
    file: ClassVar[str] = "lists.faiss"
    tuned: ClassVar[str] = "probes"
    fixed: ClassVar[tuple[str, ...]] = ("lists", "storage", "dim")

    lists: PositiveInt | None = None
    """Number of lists, into which the documents are clustered by k-means. By default 4 times the square root of the
    number of documents."""
    probes: PositiveInt | None = None
    """Number of lists that a search reads (nprobe). By default an eighth of all. If only some documents may be
    returned, it is divided by the square root of their fraction."""

    def create(self, embeddings: np.ndarray, sample: np.ndarray) -> Any:
        """Return an IVF index of the documents (see ``ApproximateIndex.create``)."""
        faiss = load_faiss()

        num_documents, dim = embeddings.shape
        lists, metric = self._num_lists(num_documents), faiss.METRIC_INNER_PRODUCT
        centroids = faiss.IndexFlatIP(dim)
        if self.storage == "float32":
            index = faiss.IndexIVFFlat(centroids, dim, lists, metric)
        elif self.storage == "pq":
            index = faiss.IndexIVFPQ(centroids, dim, lists, pq_bytes(dim), PQ_BITS, metric)
            index.pq.cp.min_points_per_centroid = 1
        elif self.storage == "rabitq":
            index = _rabitq()(centroids, dim, lists, metric)
        else:
            index = faiss.IndexIVFScalarQuantizer(centroids, dim, lists, scalar_kind(self.storage), metric)
        index.cp.min_points_per_centroid = 1  # the number of lists is limited here, and FAISS prints its warnings
        index.train(sample)
        add_in_batches(index, embeddings, "Adding documents to the lists")
        return index

    def sample_size(self, num_documents: int) -> int:
        """Return the number of documents to train on."""
        return max(_SAMPLE_PER_LIST * self._num_lists(num_documents), _SAMPLE_SIZE)

    def growth(self, documents: int, dim: int) -> Growth:
        """Return the compared vectors of k-means, of the build and of a search (see ``Index.growth``)."""
        lists, sample = self._num_lists(documents), min(documents, self.sample_size(documents))
        stored = min(self.dim or dim, dim)
        probes = min(self.probes or math.ceil(lists * _PROBED), lists)
        build, fixed = lists * (_ITERATIONS * min(sample, _MAX_SAMPLE_PER_LIST * lists) + documents), 4 * stored * lists
        if self.storage == "pq":
            build, fixed = build + pq_work(documents, sample), fixed + pq_fixed_bytes(stored)
        return Growth(build, lists + documents * probes / lists, fixed, self.sample_bytes(documents, dim))

    def search_parameters(self, value: int, ratio: float, selector: Any) -> Any:
        """Return the search parameters of FAISS (see ``ApproximateIndex.search_parameters``)."""
        faiss = load_faiss()

        probes = math.ceil(value / math.sqrt(ratio))
        if self.storage == "rabitq":
            return faiss.IVFRaBitQSearchParameters(nprobe=probes, qb=_QUERY_BITS, sel=selector)
        kind = faiss.IVFPQSearchParameters if self.storage == "pq" else faiss.SearchParametersIVF
        return kind(nprobe=probes, sel=selector)

    def largest(self, index: Any) -> int:
        """Return the largest useful value of ``probes``: all lists."""
        return int(index.nlist)

    def value(self, index: Any) -> int:
        """Return ``probes``; by default a number that depends on the number of lists."""
        lists = int(index.nlist)
        return min(self.probes or math.ceil(lists * _PROBED), lists)

    def fault(self, index: Any, num_documents: int, dim: int) -> str:
        """Return why a FAISS file is not the index of these settings (see ``ApproximateIndex.fault``)."""
        faiss = load_faiss()

        kinds: dict[str, type] = {"float32": faiss.IndexIVFFlat, "pq": faiss.IndexIVFPQ}
        kind = _rabitq() if self.storage == "rabitq" else kinds.get(self.storage, faiss.IndexIVFScalarQuantizer)
        found = faiss.downcast_index(index)
        if type(found) is not kind:
            return f"expected {kind.__name__}, found {type(found).__name__}"
        if found.nlist != self._num_lists(num_documents):
            return f"expected {self._num_lists(num_documents)} lists, found {found.nlist}"
        if self.storage == "pq":
            fault = product_fault(found.pq, pq_bytes(dim), dim)
        elif self.storage in ("fp16", "int8"):
            fault = scalar_fault(found.sq, scalar_kind(self.storage), dim)
        else:
            fault = ""
        sizes = {"float32": 4 * dim, "fp16": 2 * dim, "int8": dim, "pq": pq_bytes(dim) if self.storage == "pq" else 0}
        code_size = found.rabitq.code_size if self.storage == "rabitq" else sizes[self.storage]
        return fault or quantizer_fault(found) or lists_fault(found, code_size)

    def _num_lists(self, num_documents: int) -> int:
        """Return the number of lists; fewer than in the settings if the documents are too few for them."""
        wanted = self.lists or math.ceil(4 * math.sqrt(num_documents))
        return max(1, min(wanted, num_documents // _MIN_SAMPLE_PER_LIST))


def _rabitq() -> Any:
    """Return the class of RaBitQ in FAISS. Raises ValueError if the installed version does not have it."""
    faiss = load_faiss()

    if not hasattr(faiss, "IndexIVFRaBitQ"):
        raise ValueError("rabitq needs faiss-cpu 1.11 or later. Install it, or set storage to int8")
    return faiss.IndexIVFRaBitQ
