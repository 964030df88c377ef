"""Properties of every search index, and the scoring formula of each."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

import toys
from encloze.data.records import Representation
from encloze.search import postings
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.analyzers.unicode import Unicode
from encloze.search.indexes.base import Index, IndexSearcher
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.search.segment import Segment

EVERY = pytest.mark.parametrize("name", Index.members())
QUERIES = ["the river records", "broken engine tools", "harbour harbour watches", "violin"]


def embeddings(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def term_weights(count: int, terms: int = 30, seed: int = 0) -> csr_matrix:
    """Return random term weights, a quarter of them non-zero."""
    rng = np.random.default_rng(seed)
    return csr_matrix(rng.exponential(size=(count, terms)) * (rng.random((count, terms)) < 0.25), dtype=np.float32)


def documents_of(kind: type[Index]) -> list[str] | Representation:
    """Return forty documents in the input type of the index."""
    if kind.input_type == "text":
        return toys.texts()
    return (
        Representation(dense=embeddings(40)) if kind.input_type == "dense" else Representation(sparse=term_weights(40))
    )


def rows_of(documents: list[str] | Representation, rows: slice) -> list[str] | Representation:
    if isinstance(documents, list):
        return documents[rows]
    return Representation(*(None if view is None else view[rows] for view in documents))


def queries_of(kind: type[Index]) -> list[str] | Representation:
    if kind.input_type == "text":
        return QUERIES
    count = len(QUERIES)
    if kind.input_type == "dense":
        return Representation(dense=embeddings(count, seed=1))
    return Representation(sparse=term_weights(count, seed=1))


def build_and_open(name: str, folder: Path) -> tuple[IndexSearcher, list[str] | Representation]:
    """Build an index over forty documents, open it, and return it with queries."""
    kind = Index.member(name)
    folder.mkdir()
    kind().build(documents_of(kind), folder)
    return kind().open(folder), queries_of(kind)


@EVERY
def test_search_returns_each_document_once_in_order_of_scores(name: str, tmp_path: Path) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    results = index.search(queries, 7)
    assert results.numbers.shape == results.scores.shape == (len(QUERIES), 7)
    assert results.numbers.dtype == np.int64 and results.scores.dtype == np.float32
    for numbers, scores in zip(results.numbers, results.scores, strict=True):
        listed = numbers[numbers >= 0]
        assert len(listed) and len(set(listed.tolist())) == len(listed) and listed.max() < 40
        assert (np.diff(scores[numbers >= 0]) <= 0).all()


@EVERY
def test_search_and_score_agree(name: str, tmp_path: Path) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    results = index.search(queries, 40)
    listed = [numbers[numbers >= 0] for numbers in results.numbers]
    scored = index.score(queries, listed)
    for scores, expected, numbers in zip(scored, results.scores, results.numbers, strict=True):
        np.testing.assert_allclose(scores, expected[numbers >= 0], rtol=1e-5, atol=1e-6)


@EVERY
def test_score_keeps_the_order_of_the_given_documents(name: str, tmp_path: Path) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    numbers = [np.array([31, 2, 17]), np.array([5]), np.array([], np.int64), np.array([0, 39])]
    everything = index.score(queries, [np.arange(40)] * len(QUERIES))
    for scores, of_all, chosen in zip(index.score(queries, numbers), everything, numbers, strict=True):
        np.testing.assert_allclose(scores, of_all[chosen], rtol=1e-5, atol=1e-6)


@EVERY
def test_a_smaller_depth_returns_a_prefix(name: str, tmp_path: Path) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    deep, shallow = index.search(queries, 40), index.search(queries, 3)
    np.testing.assert_allclose(shallow.scores, deep.scores[:, :3], rtol=1e-6)


@EVERY
def test_a_depth_above_the_number_of_documents_returns_all(name: str, tmp_path: Path) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    results = index.search(queries, 1000)
    assert results.numbers.shape[1] == 40
    if Index.member(name).input_type == "dense":  # BM25 does not list documents without a word of the query
        assert (np.sort(results.numbers, axis=1) == np.arange(40)).all()


@EVERY
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 39), max_size=4, unique=True).map(sorted), chunk_size=st.integers(1, 60))
def test_adding_documents_in_batches_gives_the_same_index(
    name: str, cuts: list[int], chunk_size: int, tmp_path: Path
) -> None:
    kind = Index.member(name)
    documents, queries = documents_of(kind), queries_of(kind)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    (folder / "whole").mkdir()
    (folder / "batches").mkdir()
    kind().build(documents, folder / "whole")
    texts = [] if isinstance(documents, Representation) else list(documents)
    builder = kind().with_defaults(lambda: texts).builder(folder / "batches")
    for start, end in pairwise([0, *cuts, 40]):
        builder.add(rows_of(documents, slice(start, end)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "CHUNK_SIZE", chunk_size)
        builder.finish()
    whole, batches = (kind().open(folder / name).search(queries, 40) for name in ("whole", "batches"))
    assert (whole.numbers == batches.numbers).all() and (whole.scores == batches.scores).all()
    assert not list((folder / "batches").glob("given-*"))


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 0.8, 1.0])
def test_a_search_among_allowed_documents_equals_a_search_among_all_without_the_others(
    name: str, share: float, tmp_path: Path
) -> None:
    index, queries = build_and_open(name, tmp_path / "index")
    allowed = np.random.default_rng(5).random(40) < share
    everything, results = index.search(queries, 40), index.search(queries, 7, allowed)
    assert results.numbers.shape[1] <= 7
    for numbers, scores, all_numbers, all_scores in zip(*results, *everything, strict=True):
        kept = (all_numbers >= 0) & allowed[all_numbers]
        assert numbers[numbers >= 0].tolist() == all_numbers[kept][:7].tolist()
        np.testing.assert_allclose(scores[numbers >= 0], all_scores[kept][:7], rtol=1e-5)


@EVERY
def test_segments_without_deleted_documents_equal_one_index(name: str, tmp_path: Path) -> None:
    kind = Index.member(name)
    documents, queries = documents_of(kind), queries_of(kind)
    live = np.ones(25, bool)
    live[[3, 4, 24]] = False
    for folder, rows in (("first", slice(0, 25)), ("second", slice(25, 40)), ("all", slice(0, 40))):
        (tmp_path / folder).mkdir()
        kind().build(rows_of(documents, rows), tmp_path / folder)
    index = kind().open_segments([Segment(tmp_path / "first", live), Segment(tmp_path / "second")])
    left = np.concatenate([np.flatnonzero(live), np.arange(25, 40)])
    (tmp_path / "left").mkdir()
    kept = [documents[n] for n in left] if isinstance(documents, list) else rows_of(documents, left)  # type: ignore[arg-type]
    kind().build(kept, tmp_path / "left")
    expected = kind().open(tmp_path / "left")
    assert (index.num_documents, index.dim) == (expected.num_documents, expected.dim)
    for allowed in (None, np.arange(37) % 3 == 0):
        results, others = index.search(queries, 9, allowed), expected.search(queries, 9, allowed)
        np.testing.assert_array_equal(results.numbers, others.numbers)
        np.testing.assert_allclose(results.scores, others.scores, rtol=1e-5)
    numbers = [np.array([36, 0, 21, 22, 23]), np.array([], np.int64), np.array([5]), np.arange(37)]
    for scores, other_scores in zip(index.score(queries, numbers), expected.score(queries, numbers), strict=True):
        np.testing.assert_allclose(scores, other_scores, rtol=1e-5, atol=1e-6)
    if kind.input_type != "text":
        read = Representation.concatenate([*kind().read(Segment(tmp_path / "first", live))])
        wanted = rows_of(documents, np.flatnonzero(live))  # type: ignore[arg-type]
        assert isinstance(wanted, Representation)
        for view, original in zip(read, wanted, strict=True):
            assert (view is None) == (original is None)
            if view is not None:
                np.testing.assert_array_equal(*(v.toarray() if hasattr(v, "toarray") else v for v in (view, original)))


@EVERY
def test_an_index_opened_twice_returns_the_same(name: str, tmp_path: Path) -> None:
    first, queries = build_and_open(name, tmp_path / "index")
    second = Index.member(name)().open(tmp_path / "index")
    results, others = first.search(queries, 10), second.search(queries, 10)
    assert (results.numbers == others.numbers).all() and (results.scores == others.scores).all()


# ------------------------------------------------------------------------------------------------------------- flat


def test_flat_equals_brute_force(tmp_path: Path) -> None:
    documents, queries = embeddings(300, 24), embeddings(20, 24, seed=3)
    Flat().build(Representation(dense=documents), tmp_path)
    results = Flat().open(tmp_path).search(Representation(dense=queries), 25)
    scores = queries.astype(np.float64) @ documents.T.astype(np.float64)
    order = np.argsort(-scores, axis=1)[:, :25]
    assert (results.numbers == order).all()
    np.testing.assert_allclose(results.scores, np.take_along_axis(scores, order, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 5, 30, 40, 120])
def test_flat_returns_tied_documents_once_and_before_worse_ones(tmp_path: Path, depth: int) -> None:
    documents = np.tile(np.eye(4, dtype=np.float32), (30, 1))  # 120 documents of four kinds
    Flat().build(Representation(dense=documents), tmp_path)
    results = Flat().open(tmp_path).search(Representation(dense=np.eye(4, dtype=np.float32)[1:2]), depth)
    numbers = results.numbers[0].tolist()
    assert len(set(numbers)) == depth
    assert (
        all(number % 4 == 1 for number in numbers[:30]) and results.scores[0].tolist() == ([1] * 30 + [0] * 90)[:depth]
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("depth", [3, 40])
def test_inverted_equals_brute_force(depth: int, signed: bool, tmp_path: Path) -> None:
    """Every document with an inner product above 0 is returned, and no other."""
    documents, queries = term_weights(40), term_weights(4, seed=1)
    if signed:  # as the head ordinary_tokens produces
        documents.data[::3] *= -1
        queries.data[::4] *= -1
    Inverted().build(Representation(sparse=documents), tmp_path)
    index = Inverted().open(tmp_path)
    results, products = index.search(Representation(sparse=queries), depth), (queries @ documents.T).toarray()
    for row, all_products in enumerate(products):
        best = [number for number in np.argsort(-all_products, kind="stable")[:depth] if all_products[number] > 0]
        assert results.numbers[row][results.numbers[row] >= 0].tolist() == best
        np.testing.assert_allclose(results.scores[row][: len(best)], all_products[best], rtol=1e-5)
    (scores,) = index.score(Representation(sparse=queries[:1]), [np.arange(40)])
    np.testing.assert_allclose(scores, products[0], atol=1e-5)


@pytest.mark.parametrize(("impacts", "bytes_"), [("float32", 4), ("float16", 2), ("uint8", 1)])
def test_smaller_impacts_round_term_weights(impacts: str, bytes_: int, tmp_path: Path) -> None:
    weights = term_weights(40)
    weights.data[:3] = [1e-9, 3.9, 4.1]
    kind = Index.member("inverted")(impacts=impacts)  # type: ignore[call-arg]
    for name in ("one", "merged"):
        (tmp_path / name).mkdir()
    kind.build(Representation(sparse=weights), tmp_path / "one")
    exact, index = (weights @ weights[:5].T).toarray().T, kind.open(tmp_path / "one")
    scores = np.stack(index.score(Representation(sparse=weights[:5]), [np.arange(40)] * 5))
    step = {"float32": 0, "float16": 1e-3, "uint8": 4.1 / 128}[impacts]
    np.testing.assert_allclose(scores, exact, rtol=1e-3, atol=step * weights.sum(axis=1).max() + 1e-6)
    values = np.load(tmp_path / "one" / "values.npy")
    assert values.dtype.itemsize == bytes_ and (values != 0).all() and len(values) == weights.nnz
    (read,) = kind.read(Segment(tmp_path / "one"))
    kind.build(read, tmp_path / "merged")  # without another loss
    again = kind.open(tmp_path / "merged").search(Representation(sparse=weights[:5]), 20)
    found = index.search(Representation(sparse=weights[:5]), 20)
    np.testing.assert_array_equal(found.numbers, again.numbers)
    np.testing.assert_array_equal(found.scores, again.scores)


def test_impacts_in_uint8_must_be_positive(tmp_path: Path) -> None:
    weights = term_weights(4)
    weights.data[0] = -1
    with pytest.raises(ValueError, match="impacts uint8 needs term weights above 0"):
        Inverted(impacts="uint8").build(Representation(sparse=weights), tmp_path)


def test_flat_and_inverted_reject_texts(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="an inverted index takes a Representation with sparse term weights. Encode"):
        Inverted().build(["a text"], tmp_path)
    with pytest.raises(TypeError, match="a flat index takes a Representation with dense embeddings. Encode the texts"):
        Flat().build(["a text"], tmp_path)


def test_bm25_rejects_embeddings_and_a_single_string(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a bm25 index takes a list of texts, not a Representation"):
        Bm25().build(Representation(dense=embeddings(2)), tmp_path)
    with pytest.raises(TypeError, match="a bm25 index takes a list of texts, not a str"):
        bm25_of(["ant bee"]).search("ant", 1)


# ------------------------------------------------------------------------------------------------------------- bm25


def lucene_scores(documents: Sequence[str], query: str, k1: float, b: float) -> list[float]:
    """Return BM25 scores by the formula of Lucene's BM25Similarity, term by term."""
    tokenized = [re.findall(r"\w+", document.lower()) for document in documents]
    mean_length = sum(len(words) for words in tokenized) / len(tokenized)
    scores = []
    for words in tokenized:
        counts, score = Counter(words), 0.0
        for word in re.findall(r"\w+", query.lower()):
            if counts[word]:
                df = sum(word in other for other in tokenized)
                idf = math.log(1 + (len(tokenized) - df + 0.5) / (df + 0.5))
                frequency = counts[word]
                score += idf * frequency / (frequency + k1 * (1 - b + b * len(words) / mean_length))
        scores.append(score)
    return scores


def bm25_of(documents: Sequence[str], k1: float = 1.2, b: float = 0.75) -> IndexSearcher:
    with tempfile.TemporaryDirectory() as folder:  # mapped files stay readable after they are deleted
        Bm25(k1, b, Unicode()).build(documents, Path(folder))
        return Bm25(k1, b, Unicode()).open(Path(folder))


words = st.sampled_from(["ant", "Bee", "cat", "dog", "elk", "Fox"])
texts = st.lists(words, max_size=12).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=8).filter(any),
    st.lists(words, min_size=1, max_size=6).map(" ".join),
    st.floats(0, 3),
    st.floats(0, 1),
)
def test_bm25_equals_lucenes_formula(documents: list[str], query: str, k1: float, b: float) -> None:
    scores = bm25_of(documents, k1, b).score([query], [np.arange(len(documents))])[0]
    np.testing.assert_allclose(scores, lucene_scores(documents, query, k1, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.0), (2.0, 1.0), (0.9, 0.4)])
def test_bm25_from_a_folder_equals_lucenes_formula(tmp_path: Path, k1: float, b: float) -> None:
    Bm25(k1, b, Unicode()).build(toys.texts(), tmp_path)
    scores = Bm25(k1, b, Unicode()).open(tmp_path).score(QUERIES, [np.arange(40)] * len(QUERIES))
    for query, query_scores in zip(QUERIES, scores, strict=True):
        np.testing.assert_allclose(query_scores, lucene_scores(toys.texts(), query, k1, b), rtol=1e-5, atol=1e-6)


def test_a_repeated_query_term_counts_twice() -> None:
    index = bm25_of(["ant bee", "bee cat", "cat dog"])
    once, twice = (index.score([query], [np.arange(3)])[0] for query in ("ant", "ant ant"))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)
    assert once[0] > 0


def test_bm25_orders_ties_by_document_number() -> None:
    documents = ["cat", "ant", "dog", "ant", "ant", "elk", "ant ant"]
    for depth in range(1, 8):
        results = bm25_of(documents).search(["ant"], depth)
        full = [6, 1, 3, 4] + [-1] * 3
        assert results.numbers[0].tolist() == full[:depth]
        assert (results.scores[0][results.numbers[0] < 0] == 0).all()


def test_a_query_without_a_known_term_returns_nothing() -> None:
    results = bm25_of(["ant bee", "cat"]).search(["zebra", "", "?!", "ant"], 2)
    assert results.numbers.tolist() == [[-1, -1], [-1, -1], [-1, -1], [0, -1]]
    assert results.scores[:3].tolist() == [[0, 0]] * 3
    scores = bm25_of(["ant bee", "cat"]).score(["zebra"], [np.array([1, 0])])
    assert scores[0].tolist() == [0, 0]


def test_empty_texts_are_not_returned_and_keep_their_numbers(tmp_path: Path) -> None:
    Bm25().build(["", "ant", "", "bee ant"], tmp_path)
    results = Bm25().open(tmp_path).search(["ant", "bee"], 4)
    assert results.numbers.tolist() == [[1, 3, -1, -1], [3, -1, -1, -1]]


def test_a_collection_without_terms_can_be_searched(tmp_path: Path) -> None:
    Bm25().build(["", "?", "..."], tmp_path)
    results = Bm25().open(tmp_path).search(["ant", ""], 5)
    assert results.numbers.tolist() == [[-1, -1, -1]] * 2


def test_bm25_over_one_document(tmp_path: Path) -> None:
    Bm25().build(["the only one"], tmp_path)
    results = Bm25().open(tmp_path).search(["only"], 10)
    assert results.numbers.tolist() == [[0]]
    np.testing.assert_allclose(results.scores[0], lucene_scores(["the only one"], "only", 1.2, 0.75), rtol=1e-6)


def test_documents_and_queries_use_the_same_analyzer(tmp_path: Path) -> None:
    kind = Bm25(analyzer=Stemmed())
    kind.build(["running rivers", "a library"], tmp_path)
    assert kind.open(tmp_path).search(["river runs", "the libraries"], 1).numbers.tolist() == [[0], [1]]
    plain = Bm25(analyzer=Unicode())
    plain.build(["running rivers", "a library"], tmp_path)
    assert plain.open(tmp_path).search(["river runs"], 1).numbers.tolist() == [[-1]]
    assert Bm25().open(tmp_path).search(["running"], 1).numbers.tolist() == [[0]]  # the stored analyzer
    with pytest.raises(ValueError, match="built with the analyzer unicode, which cannot be changed"):
        kind.open(tmp_path)
    with pytest.raises(ValueError, match="the analyzer of a BM25 index is not set"):
        Bm25().builder(tmp_path)


@pytest.mark.parametrize(("k1", "b"), [(-0.1, 0.5), (1.0, -0.1), (1.0, 1.1)])
def test_bm25_rejects_settings_out_of_range(k1: float, b: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"k1 must be 0 or more and b from 0 to 1, not {k1} and {b}")):
        Bm25(k1, b, Unicode())
