"""What was encoded once is not encoded again, and work that was killed goes on after the last shard."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import encloze.models.bi_encoder as bi_encoder
import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Representation
from encloze.encoders.base import load_encoder
from encloze.errors import RecipeError, StorageError
from encloze.execution.encodings import documents_in_parts
from encloze.storage.cache import cache_folder
from encloze.storage.disk import size_of


class Counted:
    """An encoder that knows which texts it was given: each by its length, and by its letters as terms."""

    def __init__(self, fingerprint: str = "one", window: int = 7) -> None:
        self.name = self.fingerprint = fingerprint
        self.arithmetic, self.window, self.read = "float64", window, list[str]()

    def documents_in_parts(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        source = iter(texts)
        while window := list(itertools.islice(source, self.window)):
            self.read += window
            letters = np.array([[text.count(letter) for letter in "aeiou"] for text in window], np.float32)
            yield Representation(np.array([[len(text)] for text in window], np.float32), csr_matrix(letters))


def joined(parts: Iterable[Representation]) -> tuple[np.ndarray, np.ndarray]:
    whole = list(parts)
    return np.concatenate([p.dense for p in whole]), np.concatenate([p.sparse.toarray() for p in whole])


def shards() -> list[Path]:
    return sorted((cache_folder() / "encodings").rglob("*.npz"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    documents = [Document(str(d["_id"]), str(d["title"]), str(d["text"])) for d in toys.documents()]
    return Corpus.of(documents, tmp_path / "corpus.arrow")


def test_the_second_time_nothing_is_encoded(corpus: Corpus) -> None:
    first, second = Counted(), Counted()
    once, again = joined(documents_in_parts(first, corpus)), joined(documents_in_parts(second, corpus))
    assert len(first.read) == len(corpus) and second.read == []
    assert all((a == b).all() for a, b in zip(once, again, strict=True)) and len(once[0]) == len(corpus)


@pytest.mark.parametrize("taken", [1, 3])
def test_killed_work_goes_on_after_the_last_shard(taken: int, corpus: Corpus) -> None:
    killed, whole = Counted(), Counted("whole")
    parts = documents_in_parts(killed, corpus)
    for _ in range(taken):
        next(parts)
    parts.close()
    resumed = Counted(window=5)  # where shards begin is told by what is there
    found = joined(documents_in_parts(resumed, corpus))
    assert len(resumed.read) == len(corpus) - 7 * taken
    assert all((a == b).all() for a, b in zip(found, joined(documents_in_parts(whole, corpus)), strict=True))
    assert joined(documents_in_parts(Counted(), corpus))[0].tolist() == found[0].tolist()


def test_other_documents_and_other_models_have_their_own(corpus: Corpus, tmp_path: Path) -> None:
    list(documents_in_parts(Counted(), corpus))
    other = Corpus.of(list(corpus)[:-1], tmp_path / "other.arrow")
    for encoder, documents in ((Counted("two"), corpus), (Counted(), other)):
        list(documents_in_parts(encoder, documents))
        assert len(encoder.read) == len(documents)
    coarse = Counted()
    coarse.arithmetic = "bfloat16"
    list(documents_in_parts(coarse, corpus))
    assert len(coarse.read) == len(corpus)


def test_of_an_encoder_that_is_being_trained_nothing_is_kept(corpus: Corpus) -> None:
    list(documents_in_parts(Counted(""), corpus))
    assert not shards()


def test_with_no_room_nothing_is_kept(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_ENCODINGS", "0")
    list(documents_in_parts(Counted(), corpus))
    assert not shards()


@pytest.mark.parametrize("room", ["much", "-1", "nan"])
def test_room_that_is_no_number_is_refused(room: str, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_ENCODINGS", room)
    with pytest.raises(RecipeError, match=f"ENCLOZE_ENCODINGS.*is '{room}': give a number of GiB, 0 to keep nothing"):
        list(documents_in_parts(Counted(), corpus))


def test_the_longest_unused_go_first(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate("abc"):
        list(documents_in_parts(Counted(name), corpus))
        newest = max((cache_folder() / "encodings").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    each = size_of(newest)
    monkeypatch.setenv("ENCLOZE_ENCODINGS", str(3.5 * each / 2**30))
    list(documents_in_parts(Counted("a"), corpus))  # used again: it is no longer the oldest
    list(documents_in_parts(Counted("d"), corpus))
    again = {name: Counted(name) for name in "acdb"}
    for name in "acd":
        list(documents_in_parts(again[name], corpus))
        assert again[name].read == []
    list(documents_in_parts(again["b"], corpus))
    assert len(again["b"].read) == len(corpus)


@pytest.mark.parametrize("left", [0, 1, 200], ids=lambda left: f"{left}_bytes")
def test_a_damaged_shard_is_told_with_what_to_do(left: int, corpus: Corpus) -> None:
    list(documents_in_parts(Counted(), corpus))
    shards()[1].write_bytes(shards()[1].read_bytes()[:left])
    with pytest.raises(StorageError, match="000001.npz is damaged .*Remove it, and its documents are encoded again"):
        list(documents_in_parts(Counted(), corpus))
    shards()[1].unlink()
    mended, after = Counted(), Counted()
    assert len(joined(documents_in_parts(mended, corpus))[0]) == len(corpus) == len(mended.read) + 7
    assert len(joined(documents_in_parts(after, corpus))[0]) == len(corpus) and after.read == []


def test_a_model_goes_on_to_the_same_embeddings(corpus: Corpus, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bi_encoder, "_WINDOW", 8)
    encoder = load_encoder(str(model))
    plain = np.concatenate([part.dense for part in encoder.documents_in_parts(corpus.texts(), len(corpus))])
    parts = documents_in_parts(encoder, corpus)
    next(parts), next(parts)
    parts.close()
    found = np.concatenate([part.dense for part in documents_in_parts(load_encoder(str(model)), corpus)])
    assert found.tolist() == plain.tolist() and len(shards()) == 5
