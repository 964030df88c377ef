"""Every search engine: the same results as own indexes, changes of the documents, filters, and faults."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import encloze
import toys
from encloze import Corpus, Retriever
from encloze.data.filters import Filter
from encloze.data.records import Query
from encloze.errors import DataError, EnclozeError, RecipeError, StaleIndexError, StorageError
from encloze.search.engines.base import Engine, document_numbers
from engine_inputs import FILTERS, RandomEncoder, documents
from fake_opensearch import FakeOpenSearch

EVERY = pytest.mark.parametrize("name", Engine.members())
QUERIES = ["the river records", "broken engine tools", "harbour harbour watches", "violin", "zebra"]
KINDS = ["flat", "inverted", "bm25"]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenSearch]:
    with FakeOpenSearch() as server:
        yield server


def engine_of(name: str, server: FakeOpenSearch, collection: str) -> Engine:
    """Return an engine: embedded, or on the fake server if it has no embedded form."""
    member = Engine.member(name)
    return member(uri=server.url if name == "opensearch" else "", collection=collection)


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: FakeOpenSearch) -> Any:
    """Own indexes, and those in an engine, of the same documents with the same encoder."""
    folder, encoder = tmp_path_factory.mktemp("pair"), RandomEncoder(("dense", "sparse"))
    own = Retriever.build(documents(), encoder, indexes=KINDS, output=folder / "own")
    engine = engine_of(request.param, server, "pair")
    return own, Retriever.build(documents(), encoder, indexes=KINDS, output=folder / "other", engine=engine), encoder


PAIRS = pytest.mark.parametrize("pair", Engine.members(), indirect=True)


def assert_same(own: Any, other: Any) -> None:
    """Check that hits have the same scores, and the same ids where the scores differ from those of their neighbors."""
    assert [hit.score for hit in other] == pytest.approx([hit.score for hit in own], abs=1e-4)
    scores = [hit.score for hit in own]
    for rank, (one, two) in enumerate(zip(own, other, strict=True)):
        near = [score for place, score in enumerate(scores) if place != rank and abs(score - one.score) < 1e-4]
        if not near and rank < len(scores) - 1:  # the last one may be equal to the next that is not returned
            assert one.id == two.id
            assert one.document == two.document
            assert one.parts == pytest.approx(two.parts, abs=1e-4)


@PAIRS
@pytest.mark.parametrize("views", [["flat"], ["inverted"], ["bm25"], ["flat", "bm25"], KINDS], ids="-".join)
def test_results_are_those_of_own_indexes(pair: Any, views: list[str]) -> None:
    own, other, encoder = pair
    both = [Retriever.load(one.folder, views=views, encoder=encoder) for one in (own, other)]
    for filter_ in (None, "year >= 2000 and 'red' in tags", "author.name == 'Ada' and not draft"):
        for own_hits, hits in zip(*(one.search(QUERIES, 10, filter=filter_) for one in both), strict=True):
            assert_same(own_hits, hits)
    queries = [Query(str(number), text) for number, text in enumerate(QUERIES)]
    runs = [one.run(queries)[0] for one in both]
    for query in runs[0]:
        assert sorted(runs[1][query].values()) == pytest.approx(sorted(runs[0][query].values()), abs=1e-4)


@PAIRS
def test_filters_select_the_documents_that_own_filters_select(pair: Any) -> None:
    own, other = (Retriever.load(one.folder, views=["flat"], encoder=pair[2]) for one in pair[:2])
    different = {}
    for filter_ in FILTERS:
        found = [{hit.id for hit in one.search("river", 50, filter=filter_)} for one in (own, other)]
        if found[0] != found[1]:
            different[filter_] = sorted(found[0] ^ found[1])
    assert different == {}


@PAIRS
def test_a_filter_of_an_unknown_field_is_refused(pair: Any) -> None:
    with pytest.raises(RecipeError, match="no document has the field 'yaer'; did you mean 'year'"):
        pair[1].search("river", filter="yaer == 2000")


@PAIRS
def test_aggregation_diversity_and_explanations_are_those_of_own_indexes(pair: Any) -> None:
    own, other, _ = pair
    for options in ({"passage_aggregation": "max"}, {"passage_aggregation": "sum"}, {"diversity": 0.5}):
        assert_same(own.search("the river records", 3, **options), other.search("the river records", 3, **options))
    explained = [one.search("the river records", 1, explain=True)[0].explanation for one in (own, other)]
    assert explained[0].words == explained[1].words
    for one, two in zip(explained[0].views, explained[1].views, strict=True):
        assert (one.name, one.rank) == (two.name, two.rank)
        assert one.terms == pytest.approx(two.terms, abs=1e-4)


@PAIRS
def test_documents_are_read_from_the_engine(pair: Any) -> None:
    own, other, _ = pair
    assert len(other) == len(own)
    assert set(other.field_names) == set(own.field_names)
    by_id = {document.id: document for document in other.corpus}
    assert by_id == {document.id: document for document in own.corpus}
    assert other.corpus[other.corpus.number_of["comet-repair"]].source == "comet"
    assert "zebra" not in other.corpus.number_of
    assert other.corpus.sources == own.corpus.sources


def build(name: str, server: FakeOpenSearch, folder: Path, collection: str, **options: Any) -> Retriever:
    engine = engine_of(name, server, collection)
    return Retriever.build(
        options.pop("corpus", documents()), indexes=["bm25"], output=folder / "index", engine=engine, **options
    )


@EVERY
def test_documents_are_added_replaced_and_deleted(name: str, server: FakeOpenSearch, tmp_path: Path) -> None:
    retriever = build(name, server, tmp_path, "changed")
    glacier = {"id": "new", "text": "zebra crossing", "source": "river", "color": "blue"}
    change = retriever.add([glacier])
    assert (change.added, change.replaced, change.documents) == (1, 0, 42)
    assert [hit.id for hit in retriever.search("zebra", filter="color == 'blue'")] == ["new"]
    with pytest.raises(DataError, match="1 of 1 documents are in the index .*: new. Use update"):
        retriever.add([glacier])
    change = retriever.add([{**glacier, "text": "okapi"}], replace=True)
    assert (change.added, change.replaced, change.documents) == (1, 1, 42)
    assert retriever.search("zebra") == []
    assert [hit.text for hit in retriever.search("okapi")] == ["okapi"]
    change = retriever.add([{**glacier, "id": "newer"}], replace="source")
    assert (change.added, change.replaced, change.deleted, change.documents) == (1, 0, 5, 38)
    change = retriever.delete(["newer", "unknown"])
    assert (change.deleted, change.missing, change.documents) == (1, ("unknown",), 37)
    assert retriever.delete(filter="source == 'comet'").deleted == 4
    assert retriever.search("comet zebra okapi") == []
    fresh = Retriever.build(list(retriever.corpus), indexes=["bm25"])
    for query in ("violin history", "ignored warnings about a reactor"):
        assert_rank_alike(retriever, fresh, query)


def assert_rank_alike(one: Retriever, other: Retriever, query: str) -> None:
    """Check that scores are similar: after changes, only the average length is that of the build."""
    scores = [{hit.id: hit.score for hit in retriever.search(query, 3)} for retriever in (one, other)]
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


@EVERY
def test_another_opened_retriever_is_refreshed(name: str, server: FakeOpenSearch, tmp_path: Path) -> None:
    first = build(name, server, tmp_path, "refreshed")
    second = Retriever.load(first.folder)
    assert not second.refresh()
    first.add([{"id": "new", "text": "zebra"}])
    assert second.refresh()
    assert [hit.id for hit in second.search("zebra")] == ["new"]


@EVERY
def test_what_is_impossible_is_refused_at_once(name: str, server: FakeOpenSearch, tmp_path: Path) -> None:
    retriever, dataset = build(name, server, tmp_path, "refused"), toys.write_dataset(tmp_path / "data")
    for verb, call in (
        ("compact", retriever.compact),
        ("threshold", lambda: encloze.threshold(retriever.folder, dataset)),
        ("reindex", lambda: encloze.reindex(retriever.folder, model="unused")),
    ):
        with pytest.raises(RecipeError, match=f"is an index in {name}, for which there is no {verb}"):
            call()
    with pytest.raises(RecipeError, match="has no index ivf"):
        Retriever.build(
            documents(), RandomEncoder(), indexes=["ivf"], output=tmp_path / "ivf", engine=retriever_engine(name)
        )
    with pytest.raises(RecipeError, match="does not use the setting impacts of the index inverted"):
        kinds = [{"type": "inverted", "impacts": "uint8"}]
        encoder = RandomEncoder(("sparse",))
        Retriever.build(documents(), encoder, indexes=kinds, output=tmp_path / "a", engine=retriever_engine(name))
    with pytest.raises(RecipeError, match="needs an index folder"):
        Retriever.build(documents(), indexes=["bm25"], engine=retriever_engine(name))


def retriever_engine(name: str) -> Engine:
    return Engine.member(name)(uri="http://127.0.0.1:9")


@EVERY
def test_collections_of_another_index_or_model_are_noticed(name: str, server: FakeOpenSearch, tmp_path: Path) -> None:
    retriever = build(name, server, tmp_path, "replaced")
    file = tmp_path / "index" / "index.json"
    stored = Engine.member(name)
    collection = engine_of_folder(retriever.folder).connect(retriever.folder)
    collection.drop()
    with pytest.raises(EnclozeError, match="does not exist any more"):
        retriever.search("river")
    with pytest.raises(StaleIndexError, match="which was deleted there"):
        Retriever.load(retriever.folder)
    assert stored.name in file.read_text()
    collection.create([], "encloze 1 another bm25:text") if name != "milvus" else None
    collection.close()
    if name != "milvus":  # which needs a vector
        with pytest.raises(StaleIndexError, match="is of another index"):
            Retriever.load(retriever.folder)


def engine_of_folder(folder: Path) -> Engine:
    from encloze.retrieval.index_folder import stored_engine

    stored = stored_engine(folder)
    assert stored is not None
    return stored.engine


@EVERY
def test_an_interrupted_build_leaves_nothing(
    name: str, server: FakeOpenSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    engine = engine_of(name, server, "interrupted")
    kind = type(engine.connect(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(kind, "upsert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(name, server, tmp_path, "interrupted")
    assert not (tmp_path / "index").exists()
    assert len(build(name, server, tmp_path, "interrupted")) == 41
    with pytest.raises(StorageError, match="exists already"):
        build(name, server, tmp_path, "interrupted")
    assert len(build(name, server, tmp_path, "interrupted", corpus=documents()[:3], overwrite=True)) == 3


@EVERY
def test_credentials_are_not_stored(
    name: str, server: FakeOpenSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(name, server, "secrets")
    monkeypatch.setenv(engine.token_variable, "hunter2:secret")
    build(name, server, tmp_path, "secrets")
    files = [file for file in (tmp_path / "index").rglob("*") if file.is_file()]
    assert files
    assert not any(b"hunter2" in file.read_bytes() for file in files)
    with pytest.raises(ValueError, match="uri must not contain credentials"):
        type(engine)(uri="http://user:secret@localhost:1")
    with pytest.raises(ValueError, match="token_variable must be the name of an environment variable"):
        type(engine)(token_variable="a b")
    with pytest.raises(ValueError, match="collection must begin with a letter"):
        type(engine)(collection="a/b")


@EVERY
def test_an_engine_that_is_not_reachable_is_reported(name: str, tmp_path: Path) -> None:
    engine = Engine.member(name)(uri="http://127.0.0.1:9", timeout=2)
    with pytest.raises(EnclozeError, match=r"127\.0\.0\.1:9.*Check that it runs, its uri, and the token"):
        Retriever.build(documents(), indexes=["bm25"], output=tmp_path / "index", engine=engine)
    assert not (tmp_path / "index").exists()


@EVERY
def test_filters_are_translated_without_an_error(name: str, server: FakeOpenSearch, tmp_path: Path) -> None:
    collection = engine_of(name, server, "translated").connect(tmp_path)
    assert all(collection.translate(Filter(expression)) for expression in FILTERS)
    collection.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["milvus", "qdrant"])
def test_an_embedded_collection_moves_with_its_folder(name: str, tmp_path: Path) -> None:
    retriever = Retriever.build(documents(), indexes=["bm25"], output=tmp_path / "index", engine=name)
    del retriever
    (tmp_path / "index").rename(tmp_path / "moved")
    command = (
        "import sys, encloze; hits = encloze.Retriever.load(sys.argv[1]).search('river history', 1); print(hits[0].id)"
    )
    process = [sys.executable, "-c", command, str(tmp_path / "moved")]
    done = subprocess.run(process, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "river-history"
    opened = Retriever.load(tmp_path / "moved")
    refused = subprocess.run(process, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "another process" in refused.stderr or "One process at a time" in refused.stderr
    assert len(opened) == 41


def test_numbers_are_hashes_of_ids() -> None:
    numbers = document_numbers(["a", "b", "a"])
    assert numbers[0] == numbers[2] != numbers[1]
    assert (numbers >= 0).all()
    assert len(Corpus.load(documents())) == 41
