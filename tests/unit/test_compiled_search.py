"""The compiled search in postings lists gives the documents and scores of the search with numpy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from encloze.data.records import Representation, SearchResults
from encloze.search import postings_search as postings
from encloze.search.analyzers.plain import Plain
from encloze.search.indexes.base import IndexSearcher
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.inverted import Inverted
from encloze.search.postings import Postings

pytest.importorskip("numba")


def both(searcher: IndexSearcher, queries: object, depth: int, monkeypatch: pytest.MonkeyPatch) -> SearchResults:
    """Return the results of the compiled search, after comparing them, also with filters, with those of numpy."""
    draw, count = np.random.default_rng(depth), searcher.num_documents
    for allowed in (draw.random(count) < 0.5, draw.random(count) < 0.05, np.zeros(count, bool), None):
        for lookup_cost in (0, 2**40):
            monkeypatch.setattr(postings, "_LOOKUP_COST", lookup_cost)
            monkeypatch.setattr(postings, "_MIN_QUERIES", 2**62)
            expected = searcher.search(queries, depth, allowed)  # type: ignore[arg-type]
            monkeypatch.setattr(postings, "_MIN_QUERIES", 0)
            for _ in range(2):  # the second search uses the sums of the first again
                found = searcher.search(queries, depth, allowed)  # type: ignore[arg-type]
                np.testing.assert_array_equal(found.numbers, expected.numbers)
                np.testing.assert_array_equal(found.scores, expected.scores)
            if allowed is not None:
                of_all = searcher.search(queries, count)  # type: ignore[arg-type]
                for row, numbers in enumerate(of_all.numbers):
                    kept = numbers[(numbers >= 0) & allowed[numbers]][:depth]
                    assert found.numbers[row][found.numbers[row] >= 0].tolist() == kept.tolist()
    return found


@pytest.mark.parametrize("depth", [1, 7, 1000])
@pytest.mark.parametrize("words", ["a b c", "a a b", "z", "", "rare", "rare a"])
def test_bm25_is_the_same(depth: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list("abcdef"), draw.integers(0, 9))) for _ in range(300)]  # with many equal scores
    Bm25().build([*texts[:150], "rare", *texts[150:], "rare a"], tmp_path)
    found = both(Bm25().open(tmp_path), [words, "f", words], depth, monkeypatch)
    assert words != "rare" or 150 in found.numbers[0]


@pytest.mark.parametrize("seed", range(20))
def test_term_weights_of_any_sign_are_the_same(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(seed)
    density = draw.choice([0.02, 0.3, 0.9])
    values = draw.integers(-2, 3, (80, 12)) * (draw.random((80, 12)) < density)  # sums are often 0 in between
    Inverted().build(Representation(sparse=csr_matrix(values.astype(np.float32))), tmp_path)
    queries = csr_matrix(draw.integers(-1, 3, (9, 12)).astype(np.float32))
    both(Inverted().open(tmp_path), Representation(sparse=queries), int(draw.integers(1, 90)), monkeypatch)


@pytest.mark.parametrize("seed", range(20))
def test_postings_that_cannot_change_the_result_are_skipped(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings, "_MIN_SKIPPED", 0)
    draw = np.random.default_rng(seed)
    common, rare = draw.choice(["a", "b", "c"], (2000, 3)), draw.integers(0, 300, (2000, 3)).astype(str)
    Bm25(analyzer=Plain()).build([" ".join(row) for row in np.hstack([common, rare])], tmp_path)
    searcher = Bm25().open(tmp_path)
    queries = [" ".join(["a", "b", "c", *draw.integers(0, 300, 4).astype(str)]) for _ in range(10)]
    look_up, looked_up = Postings.among, list[int]()
    monkeypatch.setattr(
        Postings, "among", lambda self, term, among: (looked_up.append(term), look_up(self, term, among))[1]
    )
    found = both(searcher, queries, 3, monkeypatch)
    assert looked_up
    everything = searcher.score(queries, [np.arange(2000)] * 10)
    for numbers, scores, every in zip(found.numbers, found.scores, everything, strict=True):
        best = np.lexsort((np.arange(2000), -every))[:3]
        np.testing.assert_array_equal(numbers, best)
        np.testing.assert_array_equal(scores, every[best])


def test_many_queries_are_searched_in_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "_QUERIES_PER_THREAD", 3)
    monkeypatch.setattr(postings.os, "cpu_count", lambda: 4)
    weights = csr_matrix(random_array((200, 50), density=0.2, rng=0, dtype=np.float32))
    Inverted().build(Representation(sparse=weights), tmp_path)
    searcher = Inverted().open(tmp_path)
    found = both(searcher, Representation(sparse=weights[:50]), 10, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        for row, one in enumerate(
            pool.map(lambda row: searcher.search(Representation(sparse=weights[row : row + 1]), 10), range(50))
        ):
            np.testing.assert_array_equal(one.numbers[0], found.numbers[row])
            np.testing.assert_array_equal(one.scores[0], found.scores[row])


def test_the_first_queries_of_a_process_do_not_import_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Bm25().build(["a river", "a lake"], tmp_path)
    searcher, calls = Bm25().open(tmp_path), list[int]()
    monkeypatch.setattr(postings, "_compiled_search", lambda: calls.append(1))
    for _ in range(postings._MIN_QUERIES - 1):
        searcher.search(["river"], 1)
    assert not calls
    assert searcher.search(["river"], 1).numbers[0, 0] == 0 and calls == [1]


@pytest.mark.parametrize("impacts", ["float16", "uint8"])
def test_smaller_impacts_are_the_same(impacts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    values = draw.exponential(size=(300, 20)) * (draw.random((300, 20)) < 0.3)
    kind = Inverted(impacts=impacts)  # type: ignore[arg-type]
    kind.build(Representation(sparse=csr_matrix(values.astype(np.float32))), tmp_path)
    queries = csr_matrix((draw.exponential(size=(9, 20)) * (draw.random((9, 20)) < 0.3)).astype(np.float32))
    both(kind.open(tmp_path), Representation(sparse=queries), 11, monkeypatch)
