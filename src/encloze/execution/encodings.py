"""Encoding of a corpus: representations of its documents, computed in shards and kept in the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Representation
from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import RecipeError, StaleIndexError
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.execution.jobs import Job
from encloze.execution.ledger import Ledger
from encloze.storage.cache import cache_folder
from encloze.storage.disk import size_of
from encloze.storage.hashes import hash_of

SHARD_SIZE = 4096
"""Documents per shard; encoders sort as many texts by length at a time."""
_LIMIT = "ENCLOZE_ENCODINGS"
_DEFAULT_LIMIT = 20.0  # GiB


@dataclass(frozen=True)
class EncodingComputation:
    """Encoding of documents in another process, by an encoder that must be the same as in this one."""

    encoder: str
    """Name that the encoder is loaded by."""
    fingerprint: str
    """Its fingerprint."""
    arithmetic: str
    """Precision and device of its computation."""

    @classmethod
    def of(cls, encoder: Encoder) -> EncodingComputation:
        """Return what other processes need to encode as an encoder does. Raises RecipeError if it is in no folder."""
        if not encoder.fingerprint:
            message = "the model is only in memory, so other processes cannot load it. Save it, or use local"
            raise RecipeError("the execution", [("type", message)])
        return cls(encoder.name, encoder.fingerprint, encoder.arithmetic)

    def load(self) -> Callable[[Sequence[str]], Representation]:
        """Load the encoder, and return the function that encodes documents (see ``Computation``)."""
        computed, _, library = self.arithmetic.partition(" (")
        precision, _, device = computed.partition(" on ")
        known = "auto" if library else precision  # an export has only one precision
        encoder = load_encoder(self.encoder, known, device)  # type: ignore[arg-type]
        if (encoder.fingerprint, encoder.arithmetic) != (self.fingerprint, self.arithmetic):
            raise StaleIndexError(
                f"a worker loaded another model as {self.encoder} (fingerprint {encoder.fingerprint}, "
                f"{encoder.arithmetic}) than the process that started it (fingerprint {self.fingerprint}, "
                f"{self.arithmetic}). Give all machines the same model and versions"
            )
        return lambda texts: Representation.concatenate(list(encoder.represent_documents(texts, len(texts))))


class EncodingJob(Job[Representation]):
    """Job that computes the representations of the documents of a corpus in shards.

    If ``folder`` is given, the representations of finished shards are stored in it. ``encode_corpus`` uses a separate
    folder for each combination of encoder, precision, device and corpus.
    """

    title, unit = "Encoding documents", "documents"

    def __init__(self, encoder: Encoder, corpus: Corpus, folder: Path | None = None) -> None:
        self.encoder, self.corpus, self.sizes = encoder, corpus, shard_sizes(len(corpus))
        if folder:
            self.ledger = Ledger(folder, ".npz", write_representation, read_representation, "documents")

    def process(self, shards: Sequence[int]) -> Iterator[Representation]:
        sizes = [self.sizes[shard] for shard in shards]
        numbers = np.concatenate(
            [np.empty(0, np.int64)]
            + [np.arange(shard * SHARD_SIZE, shard * SHARD_SIZE + self.sizes[shard]) for shard in shards]
        )
        if len(numbers):
            parts = self.encoder.represent_documents(self.corpus.texts(numbers), len(numbers))
            yield from _resized(parts, sizes)

    def computation(self) -> EncodingComputation:
        return EncodingComputation.of(self.encoder)

    def input(self, shard: int) -> list[str]:
        begin = shard * SHARD_SIZE
        return list(self.corpus.texts(range(begin, begin + self.sizes[shard])))

    def on_resume(self, finished: int) -> None:
        assert self.ledger is not None  # only a job with a ledger resumes
        count = sum(size for shard, size in enumerate(self.sizes) if self.ledger.has(shard))
        progress.note(
            f"{count:,} of {len(self.corpus):,} documents were already encoded by {self.encoder.name}: "
            "their representations are read from the cache"
        )


def encode_corpus(encoder: Encoder, corpus: Corpus, executor: Executor | None = None) -> Iterator[Representation]:
    """Encode the documents of a corpus; representations that were computed before are read from the cache.

    The cache has one folder for each combination of encoder fingerprint, precision, device and corpus fingerprint. An
    interrupted call resumes after its last finished shard. The cache takes at most ``ENCLOZE_ENCODINGS`` GiB (an
    environment variable; default 20; 0 disables it); the least recently used folders are removed first.

    Args:
        encoder: The encoder. If it has no fingerprint (a model in training), its representations are not cached.
        corpus: The documents.
        executor: Executor that computes the shards; by default, they are computed in this process.

    Yields:
        Representations of at most ``SHARD_SIZE`` documents at a time, in the order of the corpus.

    Raises:
        RecipeError: ``ENCLOZE_ENCODINGS`` is not a number of GiB.
        StorageError: A cached shard is damaged, or the disk is full.
    """
    executor, limit = executor or Local(), cache_limit()
    if not limit or not encoder.fingerprint:
        yield from executor.run(EncodingJob(encoder, corpus))
        return
    encodings = cache_folder() / "encodings"
    key = (encoder.fingerprint, encoder.arithmetic, corpus.fingerprint, SHARD_SIZE)
    folder = encodings / hash_of(key)[:32]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    yield from executor.run(EncodingJob(encoder, corpus, folder))
    _evict(encodings, folder, limit)


def shard_sizes(count: int) -> list[int]:
    """Return the number of documents in each shard of a corpus of ``count`` documents."""
    return [min(SHARD_SIZE, count - begin) for begin in range(0, count, SHARD_SIZE)]


def write_representation(representation: Representation, file: Path) -> None:
    """Write embeddings, term weights or both to an ``.npz`` file."""
    arrays = {} if representation.dense is None else {"dense": representation.dense}
    if (sparse := representation.sparse) is not None:
        arrays |= {"weights": sparse.data, "terms": sparse.indices, "ends": sparse.indptr, "shape": sparse.shape}
    np.savez(file, **arrays)


def read_representation(file: Path) -> Representation:
    """Read embeddings, term weights or both from a file that ``write_representation`` wrote."""
    with file.open("rb") as stream, np.load(stream) as stored:  # numpy leaves a damaged file open
        arrays = dict(stored)
    sparse = None
    if "weights" in arrays:
        from scipy.sparse import csr_matrix  # a search with BM25 does not need it

        sparse = csr_matrix((arrays["weights"], arrays["terms"], arrays["ends"]), shape=arrays["shape"])
    if sparse is None and "dense" not in arrays:
        raise ValueError("the file contains neither embeddings nor term weights")
    return Representation(arrays.get("dense"), sparse)


def _resized(parts: Iterable[Representation], sizes: Sequence[int]) -> Iterator[Representation]:
    """Concatenate the rows (texts) of ``parts``, and split them again: the n-th result has ``sizes[n]`` rows."""
    source, rest, available = iter(parts), list[Representation](), 0
    for size in sizes:
        while available < size:
            part = next(source)
            rest.append(part)
            available += _rows(part)
        whole = Representation.concatenate(rest) if len(rest) > 1 else rest[0]
        yield _slice(whole, 0, size) if available > size else whole
        rest = [_slice(whole, size, available)] if available > size else []
        available -= size


def _rows(part: Representation) -> int:
    return int((part.dense if part.dense is not None else part.sparse).shape[0])


def _slice(part: Representation, begin: int, end: int) -> Representation:
    return Representation(*(None if view is None else view[begin:end] for view in part))


def cache_limit() -> float:
    """Return the largest size of the cache of representations in GiB; 0 if nothing is cached."""
    value = os.environ.get(_LIMIT, "")
    try:
        limit = float(value or _DEFAULT_LIMIT)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        message = f"is {value!r}: give a number of GiB, or 0 to store no encodings"
        raise RecipeError("the environment", [(_LIMIT, message)])
    return limit


def _evict(encodings: Path, used: Path, limit: float) -> None:
    """Remove the least recently used folders of the cache until the cache takes at most ``limit`` GiB.

    The folder ``used``, which the current call of ``encode_corpus`` reads and writes, is never removed.
    """
    folders = sorted((path for path in encodings.iterdir() if path != used), key=lambda path: path.stat().st_mtime)
    sizes = [size_of(folder) for folder in folders]
    excess = sum(sizes) + size_of(used) - limit * 2**30
    for folder, freed in zip(folders, accumulate(sizes, initial=0), strict=False):
        if freed >= excess:
            return
        shutil.rmtree(folder)
