"""Search engines: what is special about each, the translation of filters, and damaged index folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encloze import Retriever
from encloze.data.field_columns import FieldColumns, entries_of, write_field_columns
from encloze.data.filters import Combination, Comparison, Condition, Filter
from encloze.data.records import Document
from encloze.encoders.base import Encoder
from encloze.errors import CheckpointError, DataError, EndpointError, RecipeError
from encloze.search.bm25_statistics import Bm25Statistics
from encloze.search.engines.milvus import Milvus
from encloze.search.engines.opensearch import OpenSearch
from encloze.search.engines.qdrant import Qdrant
from encloze.search.indexes.bm25 import Bm25
from encloze.serving.collections import Collection, SearchOptions
from encloze.serving.errors import NotFoundError
from engine_inputs import FILTERS, RandomEncoder, documents
from fake_opensearch import FakeOpenSearch


@pytest.fixture
def server() -> Iterator[FakeOpenSearch]:
    with FakeOpenSearch() as server:
        yield server


def build(folder: Path, engine: Any, encoder: Encoder | None = None, indexes: Any = ("bm25",)) -> Retriever:
    return Retriever.build(documents(), encoder, indexes=indexes, output=folder / "index", engine=engine)


def holds(part: Comparison | Combination, columns: FieldColumns) -> np.ndarray:
    """Return which documents pass a normalized filter."""
    if isinstance(part, Comparison):
        found = columns.matches(part.condition)
        return ~found if part.is_negated else found
    parts = [holds(inner, columns) for inner in part.parts]
    return np.logical_and.reduce(parts) if part.operator == "and" else np.logical_or.reduce(parts)


ATOMS = st.sampled_from(["year > 2000", "2000 < year <= 2010", "'red' not in tags", "draft", "tags in ('red', '10')"])
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        inner.map(lambda part: f"not ({part})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> FieldColumns:
    file = tmp_path_factory.mktemp("fields") / "fields.arrow"
    write_field_columns([Document(row["id"], "", "", fields=row) for row in documents()], file)
    return FieldColumns(file)


@given(expression=st.one_of(st.sampled_from(FILTERS), TREES))
def test_a_normalized_filter_selects_the_same_documents(expression: str, columns: FieldColumns) -> None:
    filter_ = Filter(expression)
    selected = holds(filter_.normalized(), columns)
    assert selected.tolist() == filter_.evaluate(columns.matches).tolist()


def test_negations_are_moved_to_the_comparisons() -> None:
    year, draft = Condition("year", ">", 2020), Condition("draft", "==", True)
    expected = Combination("and", (Comparison(year, True), Comparison(draft, False)))
    assert Filter("not (year > 2020 or not draft)").normalized() == expected


def test_entries_of_texts_that_are_numbers() -> None:
    entries = list(entries_of(Document("7", "", "", fields={"a": ["x", {"b": True}]})))
    assert entries == [("id", "own", "7"), ("id", "number", 7.0), ("a", "text", "x"), ("a.b", "boolean", 1.0)]


def test_milvus_expressions_also_test_whether_a_negated_value_exists(tmp_path: Path) -> None:
    collection = Milvus(collection="c").connect(tmp_path)
    low = 'fields["values"]["f_year"]["n"]["lo"]'
    assert collection.translate(Filter("year < 3")) == f"({low} < 3)"
    assert collection.translate(Filter("not year < 3")) == f"(not (exists {low}) or not ({low} < 3))"
    assert '"x_72656164206d65"' in collection.translate(Filter("field('read me') < 3"))
    collection.close()


@pytest.mark.parametrize("name", ["text", "fields"])
def test_values_that_are_too_large_for_milvus_are_reported(name: str, tmp_path: Path) -> None:
    document = {"id": "long", "text": "short", **({"note": "é" * 40_000} if name == "fields" else {})}
    document |= {"text": "é" * 40_000} if name == "text" else {}
    message = r"(rest|text) of the document 'long' has 80,\d\d\d bytes, and Milvus stores 65,535"
    with pytest.raises(DataError, match=message):
        Retriever.build([document], indexes=["bm25"], output=tmp_path / "index", engine="milvus")
    assert not (tmp_path / "index").exists()


def test_more_documents_than_milvus_returns_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = build(tmp_path, "milvus")
    monkeypatch.setattr("encloze.search.engines.milvus.MilvusCollection.max_depth", 20)
    with pytest.raises(RecipeError, match="the engine returns at most 20 documents for a query, and 100 are wanted"):
        retriever.search("a and every part of many parts records")
    assert len(retriever.search("violin", 10)) == 4  # fewer are found, so none is missing


def test_hnsw_is_the_graph_of_the_engine(tmp_path: Path) -> None:
    for engine in ("milvus", "qdrant"):
        index = {"type": "hnsw", "neighbors": 8, "ef_search": 50}
        retriever = build(tmp_path / engine, engine, RandomEncoder(), [index])
        assert len(retriever.search("river", 5)) == 5
    with pytest.raises(RecipeError, match="milvus does not use the setting storage of the index hnsw"):
        build(tmp_path / "a", "milvus", RandomEncoder(), [{"type": "hnsw", "storage": "fp16"}])
    with pytest.raises(RecipeError, match="opensearch has no index hnsw"):
        build(tmp_path / "a", OpenSearch(uri="http://127.0.0.1:9"), RandomEncoder(), ["hnsw"])


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("added > '2026-01-31T10:00:00.000000+02:00'", "it compares the first 29 bytes of texts"),
        ("year > 9007199254740993", r"it compares numbers from 2\^53 on only by =="),
    ],
)
def test_comparisons_that_qdrant_does_not_have_are_refused(expression: str, reason: str, tmp_path: Path) -> None:
    collection = Qdrant(collection="c").connect(tmp_path)
    with pytest.raises(RecipeError, match=f"Qdrant cannot compare '(added|year)' by >: {reason}"):
        collection.translate(Filter(expression))
    collection.close()


def test_opensearch_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="opensearch has no embedded form. Set uri"):
        build(tmp_path, "opensearch")


def test_credentials_are_sent_to_opensearch(
    server: FakeOpenSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.basic("ada:secret")
    engine = OpenSearch(uri=server.url)
    with pytest.raises(EndpointError, match="security_exception: wrong credentials. Check that"):
        build(tmp_path, engine)
    monkeypatch.setenv("ENCLOZE_OPENSEARCH_TOKEN", "ada:secret")
    assert len(build(tmp_path, engine)) == 41
    server.credentials = "ApiKey abc"
    monkeypatch.setenv("ENCLOZE_OPENSEARCH_TOKEN", "abc")
    assert len(Retriever.load(tmp_path / "index")) == 41


def test_embeddings_in_elasticsearch_have_the_scores_of_opensearch(tmp_path: Path, server: FakeOpenSearch) -> None:
    encoder = RandomEncoder()
    with FakeOpenSearch(distribution=None) as elasticsearch:
        of_both = [
            build(tmp_path / str(place), OpenSearch(uri=url), encoder, ["flat"]).search("river", 41)
            for place, url in enumerate((server.url, elasticsearch.url))
        ]
    scores = [{hit.id: hit.score for hit in hits} for hits in of_both]
    assert len(scores[0]) == 41
    assert min(scores[0].values()) < -1 < 1 < max(scores[0].values())
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_rejected_addition_changes_nothing(server: FakeOpenSearch, tmp_path: Path) -> None:
    retriever = build(tmp_path, OpenSearch(uri=server.url))
    before = (tmp_path / "index" / "manifest.json").read_bytes()
    server.fails_bulk = True
    with pytest.raises(EndpointError, match="mapper_exception: too large"):
        retriever.add([{"id": "new", "text": "zebra"}])
    assert (len(retriever), retriever.search("zebra")) == (41, [])
    assert (tmp_path / "index" / "manifest.json").read_bytes() == before
    server.fails_bulk = False
    assert retriever.add([{"id": "new", "text": "zebra"}]).documents == 42


def test_a_collection_of_another_model_is_refused(server: FakeOpenSearch, tmp_path: Path) -> None:
    build(tmp_path, OpenSearch(uri=server.url), RandomEncoder(), ["flat"])
    with pytest.raises(Exception, match="was built by another model"):
        Retriever.load(tmp_path / "index", encoder=RandomEncoder(fingerprint="f2"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("engine-0.json", {"fields": [3]}, "it has no list of fields"),
        ("statistics-bm25-0.json", {"terms": ["a"], "frequencies": []}, "expected statistics of terms"),
    ],
)
def test_damaged_states_are_reported(
    file: str, content: Any, message: str, server: FakeOpenSearch, tmp_path: Path
) -> None:
    folder = build(tmp_path, OpenSearch(uri=server.url)).folder
    assert folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        Retriever.load(folder)
    assert file in str(manifest)
    from encloze.storage.manifest import write_manifest

    write_manifest(folder)
    with pytest.raises(CheckpointError, match=message):
        Retriever.load(folder)


def test_statistics_change_with_documents(tmp_path: Path) -> None:
    settings = Bm25().with_defaults(lambda: ["rivers flow"])
    statistics = Bm25Statistics(settings)
    statistics.build(["a river flows", "engines need fuel"])
    statistics.add(["violin"])
    statistics.save(tmp_path / "statistics.json")
    loaded = Bm25Statistics.load(settings, tmp_path / "statistics.json")
    assert (loaded.num_documents, loaded.average_length) == (3, statistics.average_length)
    query = [loaded.count("violin violin")]
    assert loaded.query_weights(query).toarray().sum() == pytest.approx(2 * np.log(1 + 2.5 / 1.5))
    loaded.remove(["violin"])
    assert loaded.query_weights(query).nnz == 0
    weights = loaded.document_weights(["engines engines"]).toarray().max()
    norm = 1.2 * (0.25 + 0.75 * 2 / loaded.average_length)
    assert weights == pytest.approx(2 / (2 + norm))


def test_ids_with_the_same_hash_are_refused(
    server: FakeOpenSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_letters(ids: Sequence[str]) -> np.ndarray:
        return np.array([ord(id_[0]) for id_ in ids], np.int64)

    engine = OpenSearch(uri=server.url)
    monkeypatch.setattr("encloze.retrieval.engine_building.document_numbers", first_letters)
    monkeypatch.setattr("encloze.retrieval.engine_changes.document_numbers", first_letters)
    with pytest.raises(DataError, match="two ids have the same hash"):
        build(tmp_path, engine)
    retriever = Retriever.build(
        [{"id": "apple", "text": "red"}], indexes=["bm25"], output=tmp_path / "index", engine=engine
    )
    with pytest.raises(DataError, match="the ids 'avocado' and 'apple' have the same hash"):
        retriever.add([{"id": "avocado", "text": "green"}])


def test_an_engine_index_is_served(server: FakeOpenSearch, tmp_path: Path) -> None:
    retriever = build(tmp_path, OpenSearch(uri=server.url))
    assert retriever.folder
    collection = Collection("texts", retriever.folder)
    assert collection.info().documents == 41
    assert collection.document("comet-repair").title == "comet repair"
    with pytest.raises(NotFoundError):
        collection.document("zebra")
    collection.add([{"id": "zebra", "text": "zebra"}], replace=False)
    (hits,) = collection.search(SearchOptions("texts", k=1, filter="id == 'zebra'"), ["zebra"])
    assert [hit.id for hit in hits] == ["zebra"]
    retriever.refresh()
    retriever.delete(["zebra"])
    assert collection.refresh()
    assert collection.search(SearchOptions("texts", k=1), ["zebra"]) == [[]]
