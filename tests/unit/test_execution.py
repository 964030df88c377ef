"""Executors, ledgers, and the encoding of a corpus in shards that an interrupted run resumes from."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Representation
from encloze.encoders.base import load_encoder
from encloze.errors import ExecutionError, RecipeError, StorageError
from encloze.execution import encodings
from encloze.execution.encodings import encode_corpus, shard_sizes
from encloze.execution.executors.base import Executor
from encloze.execution.jobs import Job
from encloze.execution.ledger import Ledger
from encloze.storage.cache import cache_folder
from encloze.storage.disk import size_of

IN_THIS_PROCESS = pytest.mark.parametrize("name", ["local", "slurm", "torchrun"])


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the launchers, for one process."""
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    for name, value in (("ID", "3"), ("COUNT", "1"), ("MIN", "3")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)


class CountingEncoder:
    """An encoder that records which texts it encoded: the length of each as embedding, its vowels as terms."""

    def __init__(self, fingerprint: str = "one", window: int = 7) -> None:
        self.name = self.fingerprint = fingerprint
        self.arithmetic, self.window, self.encoded = "float64", window, list[str]()

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        source = iter(texts)
        while window := list(itertools.islice(source, self.window)):
            self.encoded += window
            vowels = np.array([[text.count(letter) for letter in "aeiou"] for text in window], np.float32)
            yield Representation(np.array([[len(text)] for text in window], np.float32), csr_matrix(vowels))


class Squaring:
    """Computation of ``Squares``."""

    def load(self) -> Callable[[int], int]:
        return lambda number: number * number


class Squares(Job[int]):
    """The square of the number of each shard. The shards ``failing`` fail as often as they say."""

    title, unit = "Squaring", "numbers"

    def __init__(self, count: int, folder: Path | None = None, failing: dict[int, int] | None = None) -> None:
        self.sizes, self.failing, self.computed, self.resumed = [1] * count, failing or {}, list[int](), list[int]()
        if folder:
            self.ledger = Ledger(folder, ".txt", lambda n, path: path.write_text(str(n)), read_integer, "numbers")

    def process(self, shards: Sequence[int]) -> Iterator[int]:
        for shard in shards:
            if self.failing.get(shard):
                self.failing[shard] -= 1
                raise RuntimeError("out of memory")
            self.computed.append(shard)
            yield shard * shard

    def computation(self) -> Squaring:
        return Squaring()

    def input(self, shard: int) -> int:
        return shard

    def on_resume(self, finished: int) -> None:
        self.resumed.append(finished)


def read_integer(path: Path) -> int:
    return int(path.read_text())


def joined(parts: Iterable[Representation]) -> tuple[np.ndarray, np.ndarray]:
    whole = Representation.concatenate(list(parts))
    return whole.dense, whole.sparse.toarray()


def stored_shards() -> list[Path]:
    return sorted((cache_folder() / "encodings").rglob("*.npz"))


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """40 documents in shards of 7."""
    monkeypatch.setattr(encodings, "SHARD_SIZE", 7)
    documents = [Document(str(d["_id"]), str(d["title"]), str(d["text"])) for d in toys.documents()]
    return Corpus.from_documents(documents, tmp_path / "corpus.arrow")


@IN_THIS_PROCESS
def test_results_come_in_the_order_of_the_shards(name: str, tmp_path: Path) -> None:
    executor = Executor.member(name)()
    assert list(executor.run(Squares(5, tmp_path / "five"))) == [0, 1, 4, 9, 16]
    assert list(executor.run(Squares(0, tmp_path / "none"))) == []


@IN_THIS_PROCESS
def test_a_failed_job_resumes_with_the_missing_shards(name: str, tmp_path: Path) -> None:
    executor = Executor.member(name)(attempts=2)
    first = Squares(6, tmp_path, {1: 1, 3: 9, 4: 9})
    message = r"Squaring: 2 of 6 shards failed in 2 attempts. The others are stored: .*\n  numbers 4 to 4: RuntimeError"
    with pytest.raises(ExecutionError, match=message) as raised:
        list(executor.run(first))
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert sorted(first.computed) == [0, 1, 2, 5] and first.failing == {1: 0, 3: 7, 4: 7} and first.resumed == []
    (tmp_path / "000001.txt").unlink()
    second = Squares(6, tmp_path)
    assert list(executor.run(second)) == [0, 1, 4, 9, 16, 25]
    assert second.computed == [1, 3, 4] and second.resumed == [3]
    third = Squares(6, tmp_path)
    assert list(executor.run(third)) == [0, 1, 4, 9, 16, 25] and third.computed == []


def test_without_a_ledger_the_first_shard_that_is_given_up_ends_the_job() -> None:
    job, found = Squares(6, failing={2: 9}), list[int]()
    with pytest.raises(ExecutionError, match=r"1 of 6 shards failed in 3 attempts\n  numbers 3 to 3"):
        found += Executor.member("local")().run(job)
    assert job.computed == [0, 1] and job.failing == {2: 6}


def test_an_error_that_the_user_can_fix_is_not_repeated(tmp_path: Path) -> None:
    def fail(_: int, path: Path) -> None:
        raise StorageError("the disk is full")

    job = Squares(3, tmp_path)
    job.ledger = Ledger(tmp_path, ".txt", fail, read_integer, "numbers")
    with pytest.raises(StorageError, match="the disk is full"):
        list(Executor.member("local")().run(job))
    assert job.computed == [0]


def test_a_damaged_result_is_named_with_the_remedy(tmp_path: Path) -> None:
    list(Executor.member("local")().run(Squares(3, tmp_path)))
    (tmp_path / "000001.txt").write_text("?")
    with pytest.raises(StorageError, match=r"000001\.txt is damaged .* Remove the file; the numbers in it are then"):
        list(Executor.member("local")().run(Squares(3, tmp_path)))


def test_a_result_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(_: int, path: Path) -> None:
        path.write_text("half")
        raise OSError("disk failure")

    ledger = Ledger(tmp_path, ".txt", fail, read_integer, "numbers")
    with pytest.raises(OSError, match="disk failure"):
        ledger.store(0, 1)
    assert list(tmp_path.iterdir()) == [] and not ledger.has(0)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (7, [7]), (15, [7, 7, 1])])
def test_shards_cover_the_corpus(count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "SHARD_SIZE", 7)
    assert shard_sizes(count) == sizes


@pytest.mark.parametrize("window", [1, 5, 7, 8, 100])
def test_shards_do_not_depend_on_the_batches_of_the_encoder(window: int, corpus: Corpus) -> None:
    expected = [len(text) for text in corpus.texts()]
    parts = list(encode_corpus(CountingEncoder(window=window), corpus))
    assert [len(part.dense) for part in parts] == [7, 7, 7, 7, 7, 5]
    assert joined(parts)[0].ravel().tolist() == expected


def test_documents_are_encoded_once(corpus: Corpus) -> None:
    first, second = CountingEncoder(), CountingEncoder()
    before, after = joined(encode_corpus(first, corpus)), joined(encode_corpus(second, corpus))
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert first.encoded == list(corpus.texts()) and second.encoded == []


def test_an_interrupted_encoding_resumes_after_the_last_shard(corpus: Corpus) -> None:
    parts = encode_corpus(CountingEncoder(), corpus)
    next(parts), next(parts)
    parts.close()
    resumed = CountingEncoder()
    found = joined(encode_corpus(resumed, corpus))
    assert resumed.encoded == list(corpus.texts())[14:]
    whole = joined(CountingEncoder().represent_documents(corpus.texts(), 40))
    assert all((a == b).all() for a, b in zip(found, whole, strict=True))


def test_other_encoders_and_arithmetics_have_their_own_shards(corpus: Corpus) -> None:
    list(encode_corpus(CountingEncoder(), corpus))
    other, coarse = CountingEncoder("two"), CountingEncoder()
    coarse.arithmetic = "bfloat16 on cpu"
    list(encode_corpus(other, corpus)), list(encode_corpus(coarse, corpus))
    assert len(other.encoded) == len(coarse.encoded) == 40


def test_an_encoder_in_training_is_not_cached(corpus: Corpus) -> None:
    list(encode_corpus(CountingEncoder(""), corpus))
    assert stored_shards() == []


def test_with_a_limit_of_0_nothing_is_cached(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_ENCODINGS", "0")
    list(encode_corpus(CountingEncoder(), corpus))
    assert stored_shards() == []


@pytest.mark.parametrize("limit", ["much", "-1", "nan"])
def test_a_limit_that_is_not_a_size_is_refused(limit: str, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_ENCODINGS", limit)
    with pytest.raises(RecipeError, match=f"ENCLOZE_ENCODINGS.*is '{limit}': give a number of GiB, or 0 to store no"):
        list(encode_corpus(CountingEncoder(), corpus))


def test_the_least_recently_used_encodings_are_removed_first(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate("abc"):
        list(encode_corpus(CountingEncoder(name), corpus))
        newest = max((cache_folder() / "encodings").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    monkeypatch.setenv("ENCLOZE_ENCODINGS", str(3.5 * size_of(newest) / 2**30))
    list(encode_corpus(CountingEncoder("a"), corpus))  # used again: no longer the oldest
    list(encode_corpus(CountingEncoder("d"), corpus))
    again = {name: CountingEncoder(name) for name in "acdb"}
    for name in "acd":
        list(encode_corpus(again[name], corpus))
        assert again[name].encoded == []
    list(encode_corpus(again["b"], corpus))
    assert len(again["b"].encoded) == 40


@pytest.mark.parametrize("size", [0, 1, 200], ids=lambda size: f"{size}_bytes")
def test_a_damaged_shard_is_encoded_again_once_it_is_removed(size: int, corpus: Corpus) -> None:
    list(encode_corpus(CountingEncoder(), corpus))
    stored_shards()[1].write_bytes(stored_shards()[1].read_bytes()[:size])
    with pytest.raises(StorageError, match=r"000001\.npz is damaged .*Remove the file; the documents in it are then"):
        list(encode_corpus(CountingEncoder(), corpus))
    stored_shards()[1].unlink()
    again = CountingEncoder()
    assert len(joined(encode_corpus(again, corpus))[0]) == 40
    assert again.encoded == list(corpus.texts())[7:14]


def test_a_real_encoder_resumes_to_the_same_embeddings(corpus: Corpus, model: Path) -> None:
    encoder = load_encoder(str(model))
    parts = encode_corpus(encoder, corpus)
    next(parts), next(parts)
    parts.close()
    found = joined_dense(encode_corpus(load_encoder(str(model)), corpus))
    whole = joined_dense(encoder.represent_documents(corpus.texts(), len(corpus)))
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert len(stored_shards()) == 6


def joined_dense(parts: Iterable[Representation]) -> np.ndarray:
    return np.concatenate([part.dense for part in parts])
