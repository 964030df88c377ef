"""Retrievers: exact scores and their parts, index folders, and the models that belong to them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import encloze.retrieval.opening as searching
import toys
from encloze.commands.index import Index
from encloze.commands.search import Search
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import Document, Query, Representation
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.evaluation.measures import compute_measures
from encloze.retrieval.index_building import build_index
from encloze.retrieval.index_folder import is_index
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import tune_fusion
from encloze.retrieval.views import View
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.similarity import Similarity
from encloze.storage.atomic import atomic_folder
from encloze.systems.hybrid import Hybrid
from encloze.systems.index import Index as IndexSystem

TEXTS = toys.texts()
QUERIES = ["river records", "a broken violin", "harbour warnings harbour", "zzz"]


class Letters:
    """An encoder without torch: the number of occurrences of each letter in a text, randomly projected."""

    def __init__(self, name: str = "letters", fingerprint: str = "f1", width: int = 12) -> None:
        self.name, self.fingerprint, self.views = name, fingerprint, {"dense": width}
        self.similarity, self.arithmetic = Similarity(), "float64"

    def embed(self, texts: Iterable[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], float)
        turn = np.random.default_rng(0).normal(size=(26, self.views["dense"]))
        return (counts @ turn).astype(np.float32)

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return Representation(dense=self.embed(texts))

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        made = self.embed(texts)
        assert len(made) == count
        yield from (Representation(dense=made[start : start + 7]) for start in range(0, count, 7))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    documents = [Document(str(d["_id"]), str(d["title"]), str(d["text"])) for d in toys.documents()]
    return Corpus.from_documents(documents, tmp_path / "corpus.arrow")


@pytest.fixture
def two_views(tmp_path: Path, corpus: Corpus) -> list[View]:
    for index, made_from in ((Flat(), Representation(dense=Letters().embed(TEXTS))), (Bm25(), TEXTS)):
        (tmp_path / index.name).mkdir()
        index.build(made_from, tmp_path / index.name)
    return [View("flat", Flat().open(tmp_path / "flat"), Letters()), View("bm25", Bm25().open(tmp_path / "bm25"))]


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    """The encoder that is loaded for every name."""
    encoder = Letters()
    monkeypatch.setattr(searching, "load_encoder", lambda name, *_: encoder)
    return encoder


@pytest.fixture
def index(tmp_path: Path, corpus: Corpus, letters: Letters) -> Path:
    """An index folder with two views, built with the letters."""
    with atomic_folder(tmp_path / "index") as folder:
        build_index(corpus, [Flat(), Bm25()], letters, folder)
    return tmp_path / "index"


def exact(corpus: Corpus, query: str) -> np.ndarray:
    """The score of every document in both views: views x documents."""
    dense = Letters().embed(TEXTS).astype(float) @ Letters().embed([query]).astype(float)[0]
    with tempfile.TemporaryDirectory() as folder:
        Bm25().build(TEXTS, Path(folder))
        words = Bm25().open(Path(folder)).score([query], [np.arange(40)])[0]
    return np.stack([dense, words])


# ---------------------------------------------------------------------------------------------------------- one view


def test_one_view_gives_its_own_ranking_with_its_own_scores(corpus: Corpus, two_views: list[View]) -> None:
    for number, view in enumerate(two_views):
        for query in QUERIES[:3]:
            found = Retriever(corpus, [view]).search(query, k=5)
            scores = exact(corpus, query)[number]
            order = np.argsort(-scores, kind="stable")[:5]
            assert [hit.id for hit in found] == [corpus.ids[at] for at in order if scores[at] != 0]
            assert [hit.score for hit in found] == pytest.approx([scores[at] for at in order], rel=1e-4)
            assert all(hit.document == corpus[corpus.number_of[hit.id]] and hit.parts == {} for hit in found)


def test_a_query_without_matches_has_no_hits(corpus: Corpus, two_views: list[View]) -> None:
    assert Retriever(corpus, [two_views[1]]).search("zzz") == []
    twice = [View("one", two_views[1].index), View("other", two_views[1].index)]
    assert Retriever(corpus, twice).search("zzz") == []
    assert Retriever(corpus, twice, Weighted()).search("") == []


def test_k_larger_than_the_collection_returns_all_documents(corpus: Corpus, two_views: list[View]) -> None:
    assert len(Retriever(corpus, two_views[:1]).search("river", k=1000)) == 40
    assert len(Retriever(corpus, two_views).search("river", k=1000)) == 40


# --------------------------------------------------------------------------------------------------------- two views


@pytest.mark.parametrize("depth", [3, 100, 500])
def test_each_candidate_is_scored_by_every_view(corpus: Corpus, two_views: list[View], depth: int) -> None:
    retriever = Retriever(corpus, two_views, Weighted((0.01, 2.0), "none"))
    for query in QUERIES[:3]:
        scores = exact(corpus, query)
        candidates = range(len(TEXTS))  # at least 100 of each view are candidates
        fused = 0.01 * scores[0] + 2 * scores[1]
        expected = sorted(candidates, key=lambda at: -fused[at])[:3]
        found = retriever.search(query, k=3, depth=depth)
        assert [hit.score for hit in found] == pytest.approx([fused[at] for at in expected], rel=1e-4)
        assert [hit.id for hit in found] == [corpus.ids[at] for at in expected]
        for at, hit in zip(expected, found, strict=True):
            assert hit.parts == pytest.approx({"flat": scores[0][at], "bm25": scores[1][at]}, rel=1e-4, abs=1e-6)


class _Vectors:
    """Encoder of the queries "0", "1", ...: row ``n`` of given dense and sparse vectors."""

    similarity = Similarity(dense=1.0, sparse=1.0)

    def __init__(self, dense: np.ndarray, sparse: np.ndarray) -> None:
        self.dense, self.sparse = dense, sparse

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        rows = [int(text) for text in texts]
        return Representation(dense=self.dense[rows], sparse=csr_matrix(self.sparse[rows]))


@pytest.mark.parametrize("k", [1, 10, 300])
def test_sums_of_independent_views_find_the_best_of_all_documents(k: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 20_000
    dense = rng.normal(size=(count, 8)).astype(np.float32)
    sparse = (rng.random((count, 40)) * (rng.random((count, 40)) < 0.3)).astype(np.float32)
    queries = _Vectors(rng.normal(size=(20, 8)).astype(np.float32), rng.random((20, 40)).astype(np.float32))
    queries.sparse *= (queries.dense @ dense.T).std() / (queries.sparse @ sparse.T).std()  # views of equal scale
    documents = Representation(dense=dense, sparse=csr_matrix(sparse))
    for index in (Flat(), Inverted()):
        (tmp_path / index.name).mkdir()
        index.build(documents, tmp_path / index.name)
    views = [View(index.name, index.open(tmp_path / index.name), queries) for index in (Flat(), Inverted())]
    corpus = Corpus.from_documents([Document(f"d{n}", "", "text") for n in range(count)], tmp_path / "documents.arrow")
    retriever = Retriever(corpus, views)
    expected = queries.dense @ dense.T + queries.sparse @ sparse.T
    certain = min(k, 100)  # of more hits, only the first 100 are certain
    for number, hits in enumerate(retriever.search([str(n) for n in range(20)], k=k, depth=k)):
        best = np.argsort(-expected[number], kind="stable")[:certain]
        assert [hit.id for hit in hits[:certain]] == [f"d{at}" for at in best]
        assert len(hits) == k and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_fused_ranks_are_those_of_each_view_alone(corpus: Corpus, two_views: list[View]) -> None:
    depth = 6
    for query in QUERIES[:3]:
        alone = [[hit.id for hit in Retriever(corpus, [view]).search(query, 100)] for view in two_views]
        expected = {
            id_: sum(1 / (60 + 1 + ids.index(id_)) for ids in alone if id_ in ids) for id_ in {*alone[0], *alone[1]}
        }
        found = Retriever(corpus, two_views, ReciprocalRank()).search(query, depth)
        assert {hit.id: hit.score for hit in found} == pytest.approx({hit.id: expected[hit.id] for hit in found})
        assert [hit.score for hit in found] == pytest.approx(sorted(expected.values(), reverse=True)[:depth])


def test_a_view_without_matches_leaves_the_ranking_unchanged(corpus: Corpus, two_views: list[View]) -> None:
    alone = [hit.id for hit in Retriever(corpus, two_views[:1]).search("zzz")]
    both = Retriever(corpus, two_views).search("zzz")
    assert [hit.id for hit in both] == alone
    assert all(hit.parts["bm25"] == 0 for hit in both)


def test_a_fusion_that_does_not_fit_the_views_is_refused(corpus: Corpus, two_views: list[View]) -> None:
    with pytest.raises(RecipeError, match="fusion: the weighted fusion has 3 weights for 2 indexes"):
        Retriever(corpus, two_views, Weighted((1, 1, 1)))


# --------------------------------------------------------------------------------------------------------------- run


def test_a_run_equals_searches_one_by_one(corpus: Corpus, two_views: list[View]) -> None:
    for views in (two_views[:1], two_views[1:], two_views):
        retriever = Retriever(corpus, views)
        run, milliseconds = retriever.run([Query(f"q{n}", text) for n, text in enumerate(QUERIES)], depth=7)
        assert list(run) == ["q0", "q1", "q2", "q3"] and milliseconds >= 0
        for number, text in enumerate(QUERIES):
            one = retriever.search(text, k=7)
            assert list(run[f"q{number}"]) == [hit.id for hit in one]
            assert run[f"q{number}"] == pytest.approx({hit.id: hit.score for hit in one}, rel=1e-5)


class Backwards:
    """A re-ranker that prefers texts whose first letters are late in the alphabet."""

    name, calibration = "backwards", None

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.array([sum(map(ord, text[:3])) for _, text in pairs], np.float32)


def test_a_re_ranker_scores_rerank_depth_documents(corpus: Corpus, two_views: list[View]) -> None:
    query = Query("q", QUERIES[0])
    deep = Retriever(corpus, two_views[:1], reranker=Backwards(), rerank_depth=40)
    shallow, _ = deep.run([query], depth=3)
    whole, _ = deep.run([query], depth=40)
    assert list(shallow["q"]) == list(whole["q"])[:3] != list(Retriever(corpus, two_views[:1]).run([query], 3)[0]["q"])
    found = deep.search(query.text, k=2, depth=3)
    assert [hit.id for hit in found] == list(whole["q"])[:2]


def judged(queries: list[Query], judgments: dict[str, dict[str, int]]) -> DatasetSplit:
    """Return a split with the given queries and judgments."""
    split = DatasetSplit(Beir(Path("unused")), "dev")
    split.queries, split.judgments = queries, judgments
    return split


@pytest.mark.filterwarnings("ignore:on the split dev")
@pytest.mark.parametrize("count", [2, 3])
def test_a_fusion_is_tuned_over_all_weights(count: int, corpus: Corpus, two_views: list[View], tmp_path: Path) -> None:
    (tmp_path / "third").mkdir()
    Bm25(k1=3.0, b=0.0).build([text[::-1] for text in TEXTS], tmp_path / "third")
    third = View("backwards", Bm25(k1=3.0, b=0.0).open(tmp_path / "third"))
    views = [*two_views, third][:count]
    query = [Query(f"q{n}", f"{TEXTS[n].split()[2]} {TEXTS[n].split()[-1]}") for n in range(0, 40, 3)]
    judgments = {query.id: {corpus.ids[3 * n]: 1} for n, query in enumerate(query)}

    def value(fusion: Weighted) -> float:
        run, _ = Retriever(corpus, views, fusion).run(query, 10)
        return float(compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"].mean())

    found = tune_fusion(views, corpus, judged(query, judgments))
    steps = 20 if count == 2 else 10
    tried = [w for w in itertools.product(range(steps + 1), repeat=count) if sum(w) == steps]
    assert len(tried) == {2: 21, 3: 66}[count]
    values = [value(Weighted(tuple(weight / steps for weight in weights))) for weights in tried]
    assert value(found) == pytest.approx(max(values)) and max(values) > min(values)
    assert sum(found.weights) == pytest.approx(1)


def test_one_view_has_no_weights_to_tune(corpus: Corpus, two_views: list[View]) -> None:
    with pytest.raises(RecipeError, match="tune_on: weights are tuned for two views or more"):
        tune_fusion(two_views[:1], corpus, judged([Query("q", "river")], {"q": {"river-history": 1}}))


def test_a_query_without_matches_stays_in_the_run(corpus: Corpus, two_views: list[View]) -> None:
    run, _ = Retriever(corpus, two_views[1:]).run([Query("a", "zzz"), Query("b", "river")])
    assert run["a"] == {} and len(run["b"]) == 4


def test_a_run_of_several_query_batches_is_complete(corpus: Corpus, two_views: list[View]) -> None:
    queries = [Query(f"q{number}", TEXTS[number * 7 % 40]) for number in range(600)]
    retriever = Retriever(corpus, two_views)
    run, _ = retriever.run(queries, depth=3)
    assert list(run) == [query.id for query in queries]
    for query in queries[::13]:
        assert list(run[query.id]) == [hit.id for hit in retriever.search(query.text, k=3)]


def test_a_run_of_no_queries_is_empty(corpus: Corpus, two_views: list[View]) -> None:
    assert Retriever(corpus, two_views).run([])[0] == {}


# ------------------------------------------------------------------------------------------------------------ folder


def test_an_index_folder_holds_documents_and_views(index: Path, corpus: Corpus, two_views: list[View]) -> None:
    assert is_index(index)
    opened = Retriever.load(index)
    assert [view.name for view in opened.views] == ["flat", "bm25"]
    assert opened.views[0].encoder is not None and opened.views[1].encoder is None
    assert list(opened.corpus) == list(corpus)
    for query in QUERIES:
        found, expected = opened.search(query, 5), Retriever(corpus, two_views).search(query, 5)
        assert [hit.document for hit in found] == [hit.document for hit in expected]
        for hit, other in zip(found, expected, strict=True):
            assert hit.score == pytest.approx(other.score) and hit.parts == pytest.approx(other.parts, rel=1e-5)


def test_the_settings_of_a_view_come_back(tmp_path: Path, corpus: Corpus) -> None:
    with atomic_folder(tmp_path / "two") as folder:
        build_index(corpus, [Bm25(k1=0.5, b=0.1), Bm25(k1=2.0, b=1.0)], None, folder)
    opened = Retriever.load(tmp_path / "two")
    assert [view.name for view in opened.views] == ["bm25-0", "bm25-1"]
    (tmp_path / "alone").mkdir()
    Bm25(k1=2.0, b=1.0).build(TEXTS, tmp_path / "alone")
    expected = Bm25(k1=2.0, b=1.0).open(tmp_path / "alone").score(["river"], [np.arange(40)])[0]
    found = opened.views[1].index.score(["river"], [np.arange(40)])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.allclose(opened.views[0].index.score(["river"], [np.arange(40)])[0], expected)


def test_a_bm25_index_needs_no_model(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Index(output=tmp_path / "words", dataset=Beir(dataset), indexes=(Bm25(),)).run()
    monkeypatch.setattr(searching, "load_encoder", None)  # calling it fails
    found = Search(tmp_path / "words", "comet history", k=2).run()
    assert found[0].id == "comet-history" and len(found) == 2


def test_only_the_named_views_are_opened(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "load_encoder", None)
    assert [view.name for view in Retriever.load(index, views=["bm25"]).views] == ["bm25"]
    with pytest.raises(CheckpointError, match=r"has no index 'bm52'; did you mean 'bm25'\? known: flat, bm25"):
        Retriever.load(index, views=["bm52"])


def test_one_model_is_loaded_once_for_all_views(
    tmp_path: Path, corpus: Corpus, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "twice") as folder:
        build_index(corpus, [Flat(), Flat()], letters, folder)
    loads: list[str] = []
    monkeypatch.setattr(searching, "load_encoder", lambda name, *_: loads.append(name) or letters)
    Retriever.load(tmp_path / "twice")
    assert loads == ["letters"]


def test_another_model_is_refused_with_both_named(index: Path, letters: Letters) -> None:
    letters.fingerprint, letters.views, letters.name = "f2", {"dense": 99}, "other"
    with pytest.raises(StaleIndexError) as caught:
        Retriever.load(index, encoder="other")
    message = str(caught.value)
    built_by = "letters (fingerprint f1, 12 dimensions); other has the fingerprint f2 and 99 dimensions"
    assert message.startswith(f"the index {index} was built by another model: {built_by}")
    assert "Build the index again: encloze index --model other --output" in message


def test_a_moved_model_is_loaded_from_the_given_path(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(searching, "load_encoder", lambda name, *_: names.append(name) or Letters())
    Retriever.load(index, encoder="elsewhere")
    assert names == ["elsewhere"]


@pytest.mark.filterwarnings("ignore:on the split dev")
def test_an_index_knows_a_real_model_by_its_weights(tmp_path: Path, dataset: Path, model: Path) -> None:
    Index(output=tmp_path / "index", dataset=Beir(dataset), model=str(model), indexes=(Flat(), Bm25())).run()
    found = Search(tmp_path / "index", toys.texts()[7], k=1, precision="float32").run()
    assert found[0].id == str(toys.documents()[7]["_id"]) and set(found[0].parts) == {"flat", "bm25"}
    shutil.copytree(tmp_path, moved := tmp_path.with_name(f"{tmp_path.name}-moved"))
    shutil.rmtree(tmp_path / "index")
    model.rename(away := model.with_name("away"))
    assert Retriever.load(moved / "index").views[0].encoder is not None  # the model that moved along
    away.rename(model)
    shutil.move(moved / "index", tmp_path / "index")
    toys.backbone(seed=1).save(model)  # trained on, say
    with pytest.raises(StaleIndexError, match=re.escape(f"built by another model: {model} (")):
        Retriever.load(tmp_path / "index")


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_is_not_an_index_is_refused(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    expected = f"{folder} is not an index: it has no index.json. Build one: encloze index --output {folder}"
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        Retriever.load(folder)
    assert not is_index(folder)


def test_a_damaged_index_is_refused(index: Path) -> None:
    whole = (index / "flat" / "embeddings.npy").read_bytes()
    (index / "flat" / "embeddings.npy").write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match=r"is damaged: flat/embeddings\.npy has changed since it was written"):
        Retriever.load(index)
    (index / "flat" / "embeddings.npy").unlink()
    with pytest.raises(CheckpointError, match=r"is damaged: flat/embeddings\.npy is missing"):
        Retriever.load(index)
    (index / "flat" / "embeddings.npy").write_bytes(whole)
    Retriever.load(index)
    (index / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged: it is not valid JSON"):
        Retriever.load(index)


def test_an_index_of_another_format_version_is_refused(index: Path) -> None:
    file = index / "index.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"encloze": 5', '"encloze": 1'), encoding="utf-8")
    with pytest.raises(StaleIndexError, match="was built by another version of encloze. Build it again"):
        Retriever.load(index)


def test_an_index_without_a_manifest_is_refused(index: Path) -> None:
    (index / "manifest.json").unlink()
    assert is_index(index)  # a damaged one
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        Retriever.load(index)


def test_the_description_of_an_index_names_the_model(index: Path) -> None:
    card = json.loads((index / "index.json").read_text(encoding="utf-8"))
    assert card["documents"] == 40
    flat, words = card["views"]
    assert (flat["model"], flat["fingerprint"], flat["dim"]) == ("letters", "f1", 12)
    assert (words["model"], words["fingerprint"], words["dim"]) == (None, None, None)
    assert words["settings"].pop("analyzer") == {"type": "stemmed", "language": "english"}
    assert words["settings"] == {"type": "bm25", "k1": 1.2, "b": 0.75}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"indexes": (Bm25(),)}, "give either a corpus or a dataset"),
        ({"dataset": Beir(Path("x")), "corpus": Beir(Path("x"))}, "give either a corpus or a dataset"),
        ({"dataset": Beir(Path("x"))}, "give a model, or indexes that need none, as in --indexes bm25"),
        (
            {"dataset": Beir(Path("x")), "indexes": (Flat(),)},
            "model is required: a model computes what the index flat is built from",
        ),
    ],
)
def test_an_index_that_cannot_be_built_is_refused_before_any_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Index(output=Path("out"), **settings)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:on the split dev")
def test_a_hybrid_system_equals_an_index_of_its_parts(dataset: Path, model: Path, tmp_path: Path) -> None:
    indexes = (Flat(), Bm25(analyzer=Stemmed()))
    Index(tmp_path / "index", dataset=Beir(dataset), model=str(model), indexes=indexes).run()
    for tune_on in (None, "dev"):
        system = Hybrid(str(model), Bm25(analyzer=Stemmed()), tune_on=tune_on)
        outcome = system.rank(DatasetSplit(Beir(dataset), "test"), 7)
        query = IndexSystem(tmp_path / "index", tune_on=tune_on).rank(DatasetSplit(Beir(dataset), "test"), 7)
        assert outcome.run == query.run and outcome.note == query.note
        assert outcome.index_bytes == query.index_bytes and outcome.model_bytes == query.model_bytes
        assert "were tuned on dev" in outcome.note and system.default_title().startswith("model + bm25")
    fixed = Hybrid(str(model), Bm25(analyzer=Stemmed()), fusion=Weighted())
    assert fixed.rank(DatasetSplit(Beir(dataset), "test"), 7).note == ""
    on_dev = Hybrid(str(model), Bm25(analyzer=Stemmed())).rank(DatasetSplit(Beir(dataset), "dev"), 7)
    assert on_dev.note == ""  # no tuning on the evaluated split


def test_an_open_retriever_warns_once_that_its_folder_was_replaced(tmp_path: Path) -> None:
    built = Retriever.build(["about rivers"], indexes=["bm25"], output=tmp_path / "index")
    opened = Retriever.load(tmp_path / "index")
    for retriever in (built, opened):
        assert [hit.text for hit in retriever.search("rivers")] == ["about rivers"]
    Retriever.build(["about lakes"], indexes=["bm25"], output=tmp_path / "index", overwrite=True)
    for retriever in (built, opened):
        with pytest.warns(UserWarning, match="has been changed, replaced or removed since .* load it again"):
            assert [hit.text for hit in retriever.search("rivers")] == ["about rivers"]
        assert not retriever.search("lakes")  # a second warning would fail the test
    assert Retriever.load(tmp_path / "index").search("lakes")
