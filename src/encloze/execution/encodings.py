"""The documents' representations, kept in shards: what was encoded once is not encoded again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy.sparse import csr_matrix

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.errors import RecipeError, StorageError
from encloze.storage.cache import cache_folder
from encloze.storage.disk import explain_write_errors, size_of
from encloze.storage.hashes import hash_of

_ROOM = "ENCLOZE_ENCODINGS"
_USUAL_ROOM = 20.0  # GiB


def documents_in_parts(encoder: Encoder, corpus: Corpus) -> Iterator[Representation]:
    """The representations of a corpus's documents, in order, a shard at a time; no more are held.

    Shards lie in the cache, by the encoder's fingerprint and the documents': work that was killed goes on after the
    last one. They take ``ENCLOZE_ENCODINGS`` GiB at most (20; with 0 none are kept); the longest unused go first.
    """
    room = _room()
    if not room or not encoder.fingerprint:  # an encoder that is being trained has none
        yield from encoder.documents_in_parts(corpus.texts(), len(corpus))
        return
    every = cache_folder() / "encodings"
    folder = every / hash_of((encoder.fingerprint, encoder.arithmetic, corpus.fingerprint))[:32]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    done, shards = 0, (folder / f"{number:06}.npz" for number in count())
    while done < len(corpus) and (shard := next(shards)).exists():
        part, rows = _read(shard)
        yield part
        done += rows
    if done:
        progress.note(f"{done:,} of {len(corpus):,} documents were encoded by {encoder.name} before")
    if done < len(corpus):
        for stale in (path for path in folder.glob("*.npz") if path >= shard):  # behind one that was removed
            stale.unlink()
        rest = encoder.documents_in_parts(corpus.texts(range(done, len(corpus))), len(corpus) - done)
        for part, target in zip(rest, chain([shard], shards), strict=False):
            _write(part, target)
            yield part
    _make_room(every, folder, room)


def _room() -> float:
    given = os.environ.get(_ROOM, "")
    try:
        room = float(given or _USUAL_ROOM)
    except ValueError:
        room = -1.0
    if not room >= 0:
        raise RecipeError("the environment", [(_ROOM, f"is {given!r}: give a number of GiB, 0 to keep nothing")])
    return room


def _read(shard: Path) -> tuple[Representation, int]:
    try:
        with shard.open("rb") as file, np.load(file) as held:  # numpy leaves a damaged file open
            arrays = dict(held)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StorageError(f"{shard} is damaged ({error}). Remove it, and its documents are encoded again") from error
    dense, sparse = arrays.get("dense"), None
    if "weights" in arrays:
        sparse = csr_matrix((arrays["weights"], arrays["terms"], arrays["ends"]), shape=arrays["shape"])
    return Representation(dense, sparse), int(arrays["rows"])


def _write(part: Representation, shard: Path) -> None:
    """A shard, which appears whole or not at all."""
    arrays = {} if part.dense is None else {"dense": part.dense, "rows": len(part.dense)}
    if (sparse := part.sparse) is not None:
        arrays |= {"weights": sparse.data, "terms": sparse.indices, "ends": sparse.indptr}
        arrays |= {"shape": sparse.shape, "rows": sparse.shape[0]}
    partial = shard.with_name(f".{shard.stem}.{os.getpid()}.npz")
    try:
        with explain_write_errors(shard):
            np.savez(partial, **arrays)
            partial.replace(shard)
    finally:
        partial.unlink(missing_ok=True)


def _make_room(every: Path, used: Path, room: float) -> None:
    """Remove the longest unused folders until what is left fits; the one in use stays."""
    folders = sorted((path for path in every.iterdir() if path != used), key=lambda path: path.stat().st_mtime)
    sizes = {folder: size_of(folder) for folder in folders}
    over = sum(sizes.values()) + size_of(used) - room * 2**30
    for folder in folders:
        if over <= 0:
            return
        shutil.rmtree(folder)
        over -= sizes[folder]
