"""The indexes hnsw and ivf: recall, filters, tuning, damaged files, and collections too small for FAISS."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from test_integrity import TwoViews

from encloze import Retriever, recipe
from encloze.data.records import Representation, SearchResults
from encloze.errors import CheckpointError
from encloze.search.exact_dense import search_exactly
from encloze.search.indexes.base import Index, IndexSearcher
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.search.indexes.ivf import Ivf
from encloze.settings import plain

NUM_DOCUMENTS, DIM = 6000, 32
MEMBERS = pytest.mark.parametrize("name", ["hnsw", "ivf"])
STORAGES = [Hnsw(storage=storage) for storage in ("float32", "fp16", "int8", "pq")]  # type: ignore[arg-type]
STORAGES += [Ivf(storage=storage) for storage in ("float32", "fp16", "int8", "pq", "rabitq")]  # type: ignore
FILES = {"hnsw": "graph.faiss", "ivf": "lists.faiss"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Search and build with one thread, so that graphs are deterministic and tests in parallel do not wait."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def clustered(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Return normalized vectors in 100 clusters."""
    centers = np.random.default_rng(99).normal(size=(100, dim))
    draw = np.random.default_rng(seed)
    vectors = centers[draw.integers(100, size=count)] + 0.6 * draw.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


DOCUMENTS, QUERIES = clustered(NUM_DOCUMENTS), clustered(50, seed=1)


def build(index: Index, folder: Path, documents: np.ndarray = DOCUMENTS) -> IndexSearcher:
    folder.mkdir(parents=True, exist_ok=True)
    index.build(Representation(dense=documents), folder)
    return index.open(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a folder of each index with default settings."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FILES}
    for name, folder in folders.items():
        Index.member(name)().build(Representation(dense=DOCUMENTS), folder)
    return folders


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def search(searcher: Any, depth: int, allowed: np.ndarray | None = None) -> SearchResults:
    results: SearchResults = searcher.search(Representation(dense=QUERIES), depth, allowed)
    return results


def recall(results: SearchResults, exact: SearchResults) -> float:
    pairs = zip(results.numbers, exact.numbers, strict=True)
    return float(np.mean([np.isin(found, best).mean() for found, best in pairs]))


def same(first: SearchResults, second: SearchResults) -> bool:
    return np.array_equal(first.numbers, second.numbers) and np.array_equal(first.scores, second.scores)


@pytest.mark.parametrize("index", STORAGES, ids=lambda index: f"{index.name}-{index.storage}")
def test_recall_of_each_storage(index: Index, tmp_path: Path) -> None:
    """The documents of every storage get exact scores; those with fewer than 8 bits need more candidates."""
    if index.storage in ("pq", "rabitq"):
        index = replace(index, rescoring=10)
    searcher, exact = build(index, tmp_path), search_exactly(QUERIES, DOCUMENTS, 10)
    assert (tmp_path / FILES[index.name]).exists()
    results = search(searcher, 10)
    assert recall(results, exact) >= 0.97
    (scores,) = searcher.score(Representation(dense=QUERIES[:1]), [results.numbers[0]])
    np.testing.assert_allclose(scores, results.scores[0], rtol=1e-6)
    np.testing.assert_allclose(scores, DOCUMENTS[results.numbers[0]] @ QUERIES[0], rtol=1e-6)


@MEMBERS
@pytest.mark.parametrize("ratio", [0.5, 0.01, 0.001])
@pytest.mark.parametrize("max_exact", [0, 100])
def test_a_search_returns_only_allowed_documents_and_as_many_as_there_are(
    name: str, ratio: float, max_exact: int, built: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encloze.search.indexes._approximate_search.MAX_EXACT", max_exact)
    allowed = np.random.default_rng(3).random(NUM_DOCUMENTS) < ratio
    searcher = Index.member(name)().open(built[name])
    for depth in (1, 10, 100):
        results, expected = search(searcher, depth, allowed), search_exactly(QUERIES, DOCUMENTS, depth, allowed)
        assert results.numbers.shape == (len(QUERIES), min(depth, allowed.sum()))
        assert allowed[results.numbers].all() and (np.diff(results.scores) <= 0).all()
        assert all(len(set(row)) == len(row) for row in results.numbers.tolist())
        assert recall(results, expected) >= 0.9
        if allowed.sum() <= max_exact:
            np.testing.assert_array_equal(results.numbers, expected.numbers)


def test_exact_search_of_allowed_documents_equals_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encloze.search.exact_dense._ROWS", 64)
    searcher: Any = build(Flat(), tmp_path)
    for ratio in (1.0, 0.5, 0.01, 0.0):
        allowed = np.random.default_rng(5).random(NUM_DOCUMENTS) < ratio
        results = search(searcher, 20, allowed)
        products = np.where(allowed, QUERIES @ DOCUMENTS.T, -np.inf)
        expected = np.argsort(-products, axis=1, kind="stable")[:, : min(20, allowed.sum())]
        np.testing.assert_array_equal(results.numbers, expected)
        one = searcher.search(Representation(dense=QUERIES[:1]), 20, allowed)  # few queries are searched in another way
        np.testing.assert_array_equal(one.numbers, expected[:1])
    worst = np.argsort(-(QUERIES[0] @ DOCUMENTS.T))[-2000:]  # none of these is among the best of all documents
    allowed = np.isin(np.arange(NUM_DOCUMENTS), worst)
    one = searcher.search(Representation(dense=QUERIES[:1]), 20, allowed)
    np.testing.assert_array_equal(one.numbers[0], worst[:20])
    for wrong in (np.ones(3, bool), np.ones(NUM_DOCUMENTS), np.ones((NUM_DOCUMENTS, 1), bool)):
        with pytest.raises(ValueError, match=r"allowed must be a bool array of shape \(6000,\), not"):
            search(searcher, 3, wrong)


@MEMBERS
def test_no_allowed_document_no_query_and_no_depth_give_no_result(name: str, built: dict[str, Path]) -> None:
    searcher = Index.member(name)().open(built[name])
    for results in (search(searcher, 5, np.zeros(NUM_DOCUMENTS, bool)), search(searcher, 0)):
        assert results.numbers.shape == results.scores.shape == (len(QUERIES), 0)
    assert searcher.search(Representation(dense=QUERIES[:0]), 5).numbers.shape == (0, 5)


@MEMBERS
def test_results_of_an_index_opened_again_or_built_again_are_the_same(
    name: str, built: dict[str, Path], tmp_path: Path
) -> None:
    kind = Index.member(name)
    first = search(kind().open(built[name]), 20)
    assert same(first, search(kind().open(built[name]), 20))
    builder = kind().builder(tmp_path)
    for start in range(0, NUM_DOCUMENTS, 1700):
        builder.add(Representation(dense=DOCUMENTS[start : start + 1700]))
    builder.finish()
    assert (tmp_path / FILES[name]).read_bytes() == (built[name] / FILES[name]).read_bytes()
    assert same(first, search(kind().open(tmp_path), 20))


@MEMBERS
def test_a_depth_of_many_documents_is_searched_exactly(name: str, built: dict[str, Path]) -> None:
    results = search(Index.member(name)().open(built[name]), NUM_DOCUMENTS + 10)
    assert (np.sort(results.numbers, axis=1) == np.arange(NUM_DOCUMENTS)).all()


@MEMBERS
def test_files_are_memory_mapped(name: str, built: dict[str, Path]) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    searcher = Index.member(name)().open(built[name])
    mapped = maps.read_text(encoding="utf-8")
    assert str(built[name] / FILES[name]) in mapped and str(built[name] / "embeddings.npy") in mapped
    assert searcher.num_documents == NUM_DOCUMENTS


# ----------------------------------------------------------------------------------------------------------- tuning


@MEMBERS
def test_a_target_recall_is_reached_reported_and_stored(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encloze.search.indexes._tuning.NUM_QUERIES", 300)
    values = []
    for target in (0.9, 0.98):
        index = Index.member(name)(target_recall=target)  # type: ignore[call-arg]
        with caplog.at_level(logging.INFO, "encloze"):
            searcher = build(index, tmp_path / str(target))
        stored = json.loads((tmp_path / str(target) / "approximate.json").read_text(encoding="utf-8"))
        assert stored["recall"] >= target and stored["target_recall"] == target
        assert f"{stored['tuned']} reaches recall@10 {stored['recall']:.3f} (target {target})" in caplog.text
        values.append(stored["tuned"])
        assert recall(search(searcher, 10), search_exactly(QUERIES, DOCUMENTS, 10)) >= target - 0.05
    assert values[0] < values[1]
    with pytest.raises(ValueError, match=r"was built for target_recall 0\.98\. Set .* instead of target_recall"):
        Index.member(name)(target_recall=0.9).open(tmp_path / "0.98")  # type: ignore[call-arg]
    assert Index.member(name)().open(tmp_path / "0.98").num_documents == NUM_DOCUMENTS


def test_a_target_that_cannot_be_reached_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encloze.search.indexes._tuning.NUM_QUERIES", 100)
    index = Ivf(storage="rabitq", rescoring=1, target_recall=0.99)
    with pytest.warns(UserWarning, match=r"below the target 0\.99\. Set a higher rescoring, a storage with more"):
        build(index, tmp_path)


@MEMBERS
def test_an_index_without_a_target_cannot_be_opened_with_one(name: str, built: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="was built without target_recall"):
        Index.member(name)(target_recall=0.9).open(built[name])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("index", "change"),
    [(Hnsw(neighbors=15), "neighbors"), (Hnsw(storage="pq"), "storage"), (Ivf(lists=50), "lists")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_settings_of_the_build_cannot_be_changed(index: Index, change: str, built: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=f"the index was built with {change} .*, which cannot be changed"):
        index.open(built[index.name])


def test_settings_of_the_search_can_be_changed(built: dict[str, Path]) -> None:
    exact = search_exactly(QUERIES, DOCUMENTS, 10)
    few, all_lists = (search(Ivf(probes=probes).open(built["ivf"]), 10) for probes in (1, 1000))
    assert recall(few, exact) < recall(all_lists, exact)
    few, many = (search(Hnsw(ef_search=ef).open(built["hnsw"]), 10) for ef in (1, 500))
    assert recall(few, exact) <= recall(many, exact) and recall(many, exact) > 0.99


# ------------------------------------------------------------------------------------------- small and odd collections


@MEMBERS
@pytest.mark.parametrize("count", [0, 1, 7, 4999])
def test_small_collections_are_searched_exactly(name: str, count: int, tmp_path: Path) -> None:
    searcher = build(Index.member(name)(target_recall=0.9), tmp_path, DOCUMENTS[:count])  # type: ignore[call-arg]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["approximate.json", "embeddings.npy"]
    assert (searcher.num_documents, searcher.dim) == (count, DIM)
    assert same(search(searcher, 12), search_exactly(QUERIES, DOCUMENTS[:count], 12))
    allowed = np.arange(count) % 2 == 0
    assert search(searcher, 12, allowed).numbers.shape == (len(QUERIES), min(12, allowed.sum()))


@MEMBERS
def test_identical_vectors(name: str, tmp_path: Path) -> None:
    documents = np.repeat(DOCUMENTS[:2], [NUM_DOCUMENTS - 5, 5], axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encloze.search.indexes._tuning.NUM_QUERIES", 20)
        searcher = build(Index.member(name)(target_recall=0.9), tmp_path, documents)  # type: ignore[call-arg]
    results = searcher.search(Representation(dense=DOCUMENTS[:2]), 10)
    np.testing.assert_allclose(results.scores[0], 1, rtol=1e-5)
    assert all(len(set(row)) == 10 for row in results.numbers.tolist())


@MEMBERS
@pytest.mark.parametrize("count", [20, NUM_DOCUMENTS])
def test_nan_is_refused(name: str, count: int, tmp_path: Path) -> None:
    documents = DOCUMENTS[:count].copy()
    documents[7, 3] = np.nan
    with pytest.raises(CheckpointError, match=r"embeddings\.npy is damaged: it contains infinite numbers or NaN"):
        build(Index.member(name)(), tmp_path, documents)


@MEMBERS
def test_other_inputs_are_refused(name: str, built: dict[str, Path]) -> None:
    searcher = Index.member(name)().open(built[name])
    with pytest.raises(ValueError, match="the embeddings have 5 dimensions, those of the index 32"):
        searcher.search(Representation(dense=QUERIES[:, :5]), 3)
    with pytest.raises(TypeError, match=f"an {name} index takes a Representation with dense embeddings"):
        searcher.search(["a text"], 3)


def test_pq_needs_dimensions_that_can_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not possible with 31 dimensions. Set storage to int8"):
        build(Ivf(storage="pq"), tmp_path, clustered(NUM_DOCUMENTS, dim=31))


# ---------------------------------------------------------------------------------------------------- damaged files


def replaced(name: str, change: str) -> Any:
    """Return an index of FAISS that differs from the expected one."""
    documents, metric = DOCUMENTS, faiss.METRIC_INNER_PRODUCT
    eight_bits = faiss.ScalarQuantizer.QT_8bit
    if change == "another size":
        documents = DOCUMENTS[:-1]
    elif change == "another dimension":
        documents = np.ascontiguousarray(DOCUMENTS[:, :16])
    elif change == "another metric":
        metric = faiss.METRIC_L2
    dim = documents.shape[1]
    if change == "another class":
        index = faiss.IndexFlatIP(dim)
    elif name == "hnsw":
        index = faiss.IndexHNSWSQ(dim, eight_bits, 12 if change == "another graph" else 16, metric)
        index.hnsw.efConstruction = 8
    else:
        lists = 20 if change == "another graph" else 153
        index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlat(dim, metric), dim, lists, eight_bits, metric)
    index.train(documents)
    index.add(documents)
    return index


@MEMBERS
@pytest.mark.parametrize(
    "change", ["another size", "another dimension", "another metric", "another class", "another graph"]
)
def test_another_index_of_faiss_is_refused(name: str, change: str, built: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(built[name], tmp_path / "copy")
    faiss.write_index(replaced(name, change), str(folder / FILES[name]))
    with pytest.raises(CheckpointError, match=rf"{FILES[name]} is damaged: .*Build the index again"):
        Index.member(name)().open(folder)


@MEMBERS
@pytest.mark.parametrize(
    "change",
    [lambda content: b"", lambda content: content[:30], lambda content: content[:-1000], lambda content: b"x" * 999],
)
def test_a_damaged_file_is_refused(
    name: str, change: Callable[[bytes], bytes], built: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(built[name], tmp_path / "copy")
    file = folder / FILES[name]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"{FILES[name]} is damaged"):
        Index.member(name)().open(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"{FILES[name]} is damaged: it is missing"):
        Index.member(name)().open(folder)


@pytest.mark.parametrize("value", [-2, NUM_DOCUMENTS, 2**30])
def test_neighbors_out_of_range_are_refused(value: int, built: dict[str, Path], tmp_path: Path) -> None:
    """Without a check, a search in such a graph reads invalid memory."""
    folder = copied(built["hnsw"], tmp_path / "copy")
    index = faiss.read_index(str(folder / "graph.faiss"))
    faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())[5] = value
    faiss.write_index(index, str(folder / "graph.faiss"))
    with pytest.raises(CheckpointError, match=r"graph\.faiss is damaged: .*(neighbor|range)"):
        Hnsw().open(folder)


@pytest.mark.parametrize("value", [-1, NUM_DOCUMENTS, 0])
def test_lists_with_wrong_numbers_are_refused(value: int, built: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(built["ivf"], tmp_path / "copy")
    index = faiss.read_index(str(folder / "lists.faiss"))
    lists = [number for number in range(index.nlist) if index.invlists.list_size(number) > 1]
    for number in lists[:2]:  # one of both does not contain document 0
        faiss.rev_swig_ptr(index.invlists.get_ids(number), 2)[:] = value
    faiss.write_index(index, str(folder / "lists.faiss"))
    with pytest.raises(CheckpointError, match=r"lists\.faiss is damaged: (the number of a|a) document is"):
        Ivf().open(folder)


@pytest.mark.skipif(not hasattr(faiss, "set_deserialization_vector_byte_limit"), reason="an old version of FAISS")
def test_a_list_longer_than_the_file_is_refused(built: dict[str, Path], tmp_path: Path) -> None:
    """Without a limit, FAISS allocates memory for the list."""
    folder = copied(built["ivf"], tmp_path / "copy")
    index, content = faiss.read_index(str(folder / "lists.faiss")), (folder / "lists.faiss").read_bytes()
    sizes = np.array([index.invlists.list_size(number) for number in range(index.nlist)], np.uint64)
    at = content.index(sizes.tobytes())
    sizes[3] = 2**39
    (folder / "lists.faiss").write_bytes(content[:at] + sizes.tobytes() + content[at + sizes.nbytes :])
    with pytest.raises(CheckpointError, match=r"lists\.faiss is damaged"):
        Ivf().open(folder)


@MEMBERS
@pytest.mark.parametrize("change", [{"documents": 3}, {"tuned": "x"}, {"built": 7}, {"is_exact": None}])
def test_a_damaged_description_is_refused(
    name: str, change: dict[str, Any], built: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(built[name], tmp_path / "copy")
    file = folder / "approximate.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        Index.member(name)().open(folder)


def test_settings_survive_the_description_of_an_index_folder() -> None:
    for index in (Hnsw(target_recall=0.95, neighbors=16, storage="pq"), Ivf(lists=100, storage="rabitq"), Ivf()):
        assert recipe.coerce(Index, plain(index), source="index.json", name=index.name) == index
    with pytest.raises(ValueError, match="target_recall must be above 0 and below 1, not 1"):
        Ivf(target_recall=1)


def test_large_collections_are_searched_approximately_by_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [f"text {number}" for number in range(9)]
    exact = Retriever.build(documents, TwoViews())
    monkeypatch.setattr("encloze.retrieval.index_building.MANY_DOCUMENTS", 9)
    with caplog.at_level("INFO", "encloze"):
        many = Retriever.build(documents, TwoViews())
    assert [view.name for view in exact.views] == ["flat", "inverted"]
    assert [view.name for view in many.views] == ["hnsw", "inverted"]
    assert "9 documents: embeddings are searched approximately, with the index hnsw" in caplog.text


@MEMBERS
def test_candidates_of_the_first_dimensions_are_rescored_with_all(name: str, tmp_path: Path) -> None:
    def of_importance(vectors: np.ndarray) -> np.ndarray:  # as a Matryoshka model gives them
        return np.ascontiguousarray(vectors * np.linspace(1, 0.1, DIM, dtype=np.float32) ** 2)

    documents, queries = of_importance(DOCUMENTS), of_importance(QUERIES)
    exact = search_exactly(queries, documents, 10)
    sizes = []
    for dim in (None, 12):
        kind = Index.member(name)(dim=dim, rescoring=8.0)  # type: ignore[call-arg]
        found = build(kind, tmp_path / str(dim), documents).search(Representation(dense=queries), 10)
        assert recall(found, exact) > 0.95
        np.testing.assert_allclose(found.scores[:, 0], exact.scores[:, 0], rtol=1e-5)
        sizes.append((tmp_path / str(dim) / FILES[name]).stat().st_size)
    assert sizes[1] < sizes[0] - 15 * NUM_DOCUMENTS
    with pytest.raises(ValueError, match="dim is 33, and the embeddings have only 32 dimensions"):
        build(Index.member(name)(dim=33), tmp_path / "wrong", documents)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="the index was built with dim 12, which cannot be changed to 16"):
        Index.member(name)(dim=16).open(tmp_path / "12")  # type: ignore[call-arg]
