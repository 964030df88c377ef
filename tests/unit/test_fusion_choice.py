"""Tests of the fusion that is chosen for several views: tuned weights, and the check without judged queries."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from encloze.commands.index import Index
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import SearchResults
from encloze.errors import DataError, RecipeError
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import choose_fusion, reciprocal_ranks
from encloze.retrieval.tuning_queries import default_tuning, named_tuning
from encloze.retrieval.views import View
from encloze.search.analyzers.unicode import Unicode
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25
from encloze.systems.index import Index as IndexSystem

COUNT = 120


class Blind:
    """An index that scores documents by their number, whatever the query is."""

    input_type = "text"

    def search(self, queries: list[str], depth: int) -> SearchResults:
        numbers = np.tile(np.arange(depth), (len(queries), 1))
        return SearchResults(numbers, -numbers.astype(np.float32))

    def score(self, queries: list[str], numbers: list[np.ndarray]) -> list[np.ndarray]:
        return [-of_query.astype(np.float32) for of_query in numbers]


@pytest.fixture
def corpus() -> Corpus:
    texts = [f"text {n} is about thing{n} and thing{n + 1}" for n in range(COUNT)]
    return Corpus.from_dicts([{"id": f"d{n}", "text": text} for n, text in enumerate(texts)])


@pytest.fixture
def views(corpus: Corpus, tmp_path: Path) -> list[View]:
    (tmp_path / "bm25").mkdir()
    kind = Bm25(analyzer=Unicode())
    kind.build(corpus.texts(), tmp_path / "bm25")
    return [View("blind", Blind()), View("bm25", kind.open(tmp_path / "bm25"))]


def test_a_view_that_does_not_know_the_documents_gets_the_weight_0(corpus: Corpus, views: list[View]) -> None:
    ranks = reciprocal_ranks(views, corpus)
    assert ranks["bm25"] > 0.95 and ranks["blind"] < 0.1
    with pytest.warns(UserWarning, match="blind has the weight 0, because it rarely finds"):
        chosen = choose_fusion(views, corpus)
    assert chosen.fusion == Weighted((0.0, 1.0)) and chosen.note.startswith("blind has the weight 0")
    query = "what about thing7 and thing8"
    fused = Retriever(corpus, views, chosen.fusion).search(query, 3)
    assert [hit.id for hit in fused] == [hit.id for hit in Retriever(corpus, views[1:]).search(query, 3)]


def test_equal_weights_if_every_view_knows_the_documents(corpus: Corpus, views: list[View]) -> None:
    both = [views[1], View("other", views[1].index)]
    assert choose_fusion(both, corpus).fusion == Weighted()
    assert choose_fusion(views[:1], corpus).note == ""
    few = Corpus.from_dicts([{"id": str(n), "text": f"text {n}"} for n in range(20)])
    assert choose_fusion(views, few).fusion == Weighted()  # too few documents for a check


def test_equal_scores_share_a_rank(corpus: Corpus) -> None:
    class Constant(Blind):
        def score(self, queries: list[str], numbers: list[np.ndarray]) -> list[np.ndarray]:
            return [np.zeros(len(of_query), np.float32) for of_query in numbers]

    assert reciprocal_ranks([View("constant", Constant())], corpus)["constant"] == pytest.approx(2 / (COUNT + 1))


def test_texts_without_spaces_give_snippets_of_letters(tmp_path: Path) -> None:
    letters = "".join(chr(0x4E00 + n) for n in range(2000))
    unspaced = Corpus.from_dicts([{"id": str(n), "text": letters[n * 30 : n * 30 + 60]} for n in range(60)])
    kind = Bm25(analyzer=Unicode())
    kind.build(unspaced.texts(), tmp_path)
    assert reciprocal_ranks([View("bm25", kind.open(tmp_path))], unspaced)["bm25"] > 0.9


def name_of(split: DatasetSplit) -> str | None:
    tuning = default_tuning(split)
    return tuning and tuning.split


def write_qrels(dataset: Path, split: str, rows: list[tuple[str, str]]) -> None:
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in rows)]
    (dataset / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_qrels(dataset: Path, split: str) -> list[tuple[str, str]]:
    lines = (dataset / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


def test_tuning_uses_dev_or_validation_but_never_the_evaluated_split(dataset: Path) -> None:
    assert name_of(DatasetSplit(Beir(dataset), "test")) == "dev"
    assert name_of(DatasetSplit(Beir(dataset), "dev")) is None
    assert name_of(DatasetSplit(Beir(dataset), "")) is None
    assert name_of(DatasetSplit(Beir(dataset), "test", judgments_by_source=True)) is None
    (dataset / "qrels" / "dev.tsv").rename(dataset / "qrels" / "validation.tsv")
    assert name_of(DatasetSplit(Beir(dataset), "test")) == "validation"
    (dataset / "qrels" / "validation.tsv").unlink()
    assert name_of(DatasetSplit(Beir(dataset), "test")) is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "has no judgments in the split 'dev'"),
        ("few", "only 4 of its queries have a relevant document"),
        ("unknown documents", "only 0 of its queries have a relevant document"),
        ("shared queries", "it shares queries with the split test"),
    ],
)
def test_a_dev_split_that_cannot_be_used_is_reported(
    kind: str, says: str, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = read_qrels(dataset, "dev")
    changed = {
        "empty": [],
        "few": rows[:4],
        "unknown documents": [(query, "gone") for query, _ in rows],
        "shared queries": [*rows, read_qrels(dataset, "test")[0]],
    }
    write_qrels(dataset, "dev", changed[kind])
    with caplog.at_level("INFO", "encloze"):
        assert default_tuning(DatasetSplit(Beir(dataset), "test")) is None
    assert "The split dev is not used" in caplog.text and says in caplog.text
    Index(dataset / "index", dataset=Beir(dataset), indexes=TWO).run()  # the index is built all the same
    assert "tuned" not in str(description(dataset / "index")["fusion_note"])


def test_a_named_split_without_relevant_documents_is_refused(dataset: Path) -> None:
    write_qrels(dataset, "dev", [(query, "gone") for query, _ in read_qrels(dataset, "dev")])
    with pytest.raises(DataError, match="no query of the split 'dev' has a relevant document"):
        named_tuning(DatasetSplit(Beir(dataset), "test"), "dev")


TWO = (Bm25(), Bm25(k1=5.0, b=0.0))


def description(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return found


def test_an_index_stores_its_fusion(dataset: Path, tmp_path: Path) -> None:
    Index(tmp_path / "tuned", dataset=Beir(dataset), indexes=TWO).run()
    stored = description(tmp_path / "tuned")
    assert stored["fusion_note"] == "the fusion weights (bm25-0 0.5, bm25-1 0.5) were tuned on dev"
    retriever = Retriever.load(tmp_path / "tuned")
    assert retriever.fusion == Weighted((0.5, 0.5))
    report_note = IndexSystem(tmp_path / "tuned").rank(DatasetSplit(Beir(dataset), "test"), 5).note
    assert report_note == stored["fusion_note"]
    Index(tmp_path / "given", dataset=Beir(dataset), indexes=TWO, fusion=ReciprocalRank(k=5)).run()
    assert Retriever.load(tmp_path / "given").fusion == ReciprocalRank(k=5)
    assert Retriever.load(tmp_path / "given", fusion="weighted").fusion == Weighted()
    assert Retriever.load(tmp_path / "given", views=["bm25-0"]).fusion == Weighted()
    Index(tmp_path / "untuned", corpus=Beir(dataset), indexes=TWO).run()
    assert description(tmp_path / "untuned")["fusion_note"] == ""
    Index(tmp_path / "one", corpus=Beir(dataset), indexes=TWO[:1]).run()
    assert "fusion" not in description(tmp_path / "one")


def test_a_retriever_is_tuned_in_memory_as_in_a_folder(dataset: Path, tmp_path: Path) -> None:
    split = DatasetSplit(Beir(dataset), "dev")
    in_memory = Retriever.build(split.corpus, indexes=TWO, tune_on=split)
    saved = Retriever.build(split.corpus, indexes=TWO, tune_on=split, output=tmp_path / "saved")
    assert in_memory.fusion == saved.fusion == Retriever.load(tmp_path / "saved").fusion == Weighted((0.5, 0.5))


@pytest.mark.parametrize(
    "settings", [{"corpus": Beir(Path("x"))}, {"dataset": Beir(Path("x")), "fusion": ReciprocalRank()}]
)
def test_tuning_needs_a_data_set_and_no_fusion(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="tune_on needs a dataset, and no fusion"):
        Index(Path("out"), indexes=TWO, tune_on="dev", **settings)  # type: ignore[arg-type]


def test_weights_follow_the_order_of_the_searched_views(dataset: Path, tmp_path: Path) -> None:
    fusion = Weighted((0.9, 0.1))
    Index(tmp_path / "index", dataset=Beir(dataset), indexes=TWO, fusion=fusion).run()
    assert Retriever.load(tmp_path / "index", views=["bm25-1", "bm25-0"]).fusion == Weighted((0.1, 0.9))


def test_a_view_of_weight_0_is_not_searched(dataset: Path, tmp_path: Path) -> None:
    Index(tmp_path / "index", dataset=Beir(dataset), indexes=TWO, fusion=Weighted((0.0, 1.0))).run()
    retriever = Retriever.load(tmp_path / "index")
    assert [view.name for view in retriever.views] == ["bm25-1"]
    assert retriever.search("qqqq") == [] and retriever.search("river")[0].parts == {}


def test_evaluating_the_split_of_the_weights_gives_a_warning(dataset: Path, tmp_path: Path) -> None:
    Index(tmp_path / "index", dataset=Beir(dataset), indexes=TWO).run()
    with pytest.warns(UserWarning, match="were tuned on the evaluated split dev"):
        IndexSystem(tmp_path / "index").rank(DatasetSplit(Beir(dataset), "dev"), 5)


def test_the_best_hits_do_not_depend_on_the_number_of_hits(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    words = [f"w{n}" for n in range(40)]
    rows = [{"id": str(n), "text": " ".join(draw.choice(words, int(draw.integers(3, 30))))} for n in range(600)]
    corpus = Corpus.from_dicts(rows)
    for fusion in ("weighted", "reciprocal_rank"):
        retriever = Retriever.build(corpus, indexes=TWO, fusion=fusion)
        few, many = (retriever.search("w1 w2 w3", k) for k in (10, 500))
        assert [hit.id for hit in few] == [hit.id for hit in many[:10]]
        assert [hit.score for hit in few] == pytest.approx([hit.score for hit in many[:10]])
        assert len(many) > 300 and all(one.score >= two.score for one, two in pairwise(many))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tune_on": "dev"}, "tune_on: expected a split with judged queries"),
        ({"tune_on": DatasetSplit(Beir(Path("x")), "dev"), "fusion": "weighted"}, "it needs no fusion"),
        ({"tune_on": DatasetSplit(Beir(Path("x")), "dev"), "indexes": TWO[:1]}, "two indexes or more"),
        ({"fusion": {"type": "weighted", "weights": [1.0]}}, "the weighted fusion has 1 weights for 2 indexes"),
        ({"fusion": {"type": "weighted", "weights": [0.0, 0.0]}}, "at least one above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_work(
    arguments: dict[str, object], message: str, corpus: Corpus
) -> None:
    with pytest.raises(RecipeError, match=message):
        Retriever.build(corpus, **{"indexes": TWO, **arguments})  # type: ignore[arg-type]
