"""Tests of the fusion that is chosen for several views: tuned weights, and the check without judged queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from encloze.commands.index import Index
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import SearchResults
from encloze.errors import RecipeError
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import choose_fusion, default_tuning_split, reciprocal_ranks
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
    texts = [f"text {n} tells of thing{n} and of thing{n + 1}" for n in range(COUNT)]
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
        chosen = choose_fusion(views, corpus, None)
    assert chosen.fusion == Weighted((0.0, 1.0)) and chosen.note.startswith("blind has the weight 0")
    query = "what of thing7 and thing8"
    fused = Retriever(corpus, views, chosen.fusion).search(query, 3)
    assert [hit.id for hit in fused] == [hit.id for hit in Retriever(corpus, views[1:]).search(query, 3)]


def test_equal_weights_if_every_view_knows_the_documents(corpus: Corpus, views: list[View]) -> None:
    both = [views[1], View("other", views[1].index)]
    assert choose_fusion(both, corpus, None) == (Weighted(), "")
    assert choose_fusion(views[:1], corpus, None).note == ""
    few = Corpus.from_dicts([{"id": str(n), "text": f"text {n}"} for n in range(20)])
    assert choose_fusion(views, few, None) == (Weighted(), "")  # too few documents for a check


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


def test_tuning_uses_dev_or_validation_but_never_the_evaluated_split(dataset: Path) -> None:
    assert default_tuning_split(DatasetSplit(Beir(dataset), "test")) == "dev"
    assert default_tuning_split(DatasetSplit(Beir(dataset), "dev")) is None
    assert default_tuning_split(DatasetSplit(Beir(dataset), "test", judgments_by_source=True)) is None
    text = (dataset / "qrels" / "dev.tsv").read_text(encoding="utf-8")
    (dataset / "qrels" / "dev.tsv").write_text(text.splitlines()[0] + "\n", encoding="utf-8")  # no judgments
    assert default_tuning_split(DatasetSplit(Beir(dataset), "test")) is None
    (dataset / "qrels" / "dev.tsv").write_text(text, encoding="utf-8")
    (dataset / "qrels" / "dev.tsv").rename(dataset / "qrels" / "validation.tsv")
    assert default_tuning_split(DatasetSplit(Beir(dataset), "test")) == "validation"
    (dataset / "qrels" / "validation.tsv").unlink()
    assert default_tuning_split(DatasetSplit(Beir(dataset), "test")) is None


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
