"""Tests of re-ranking: the fusion with the scores of the retriever, and the weight that is tuned on dev."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import encloze.systems.reranked as reranked_system
from encloze.commands.evaluate import Evaluate
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.errors import RecipeError
from encloze.retrieval.reranker_tuning import tune_reranker
from encloze.retrieval.reranking import rerank, score_top
from encloze.retrieval.retriever import Retriever
from encloze.systems.bm25 import Bm25
from encloze.systems.reranked import Reranked

RUN = {"q": {"a": 9.0, "b": 8.0, "c": 7.0, "d": 1.0, "e": 0.5}, "empty": {}}
SCORED = {"q": {"a": 0.1, "b": 0.2, "c": 0.9}, "empty": {}}


class Fixed:
    """A re-ranker that scores a document by the judgments, or by their opposite."""

    calibration = None

    def __init__(self, relevant: set[tuple[str, str]], sign: float) -> None:
        self.relevant, self.sign, self.pairs = relevant, sign, 0

    def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        self.pairs += len(pairs)
        return np.array([self.sign * ((query, text) in self.relevant) for query, text in pairs], np.float32)


def test_the_weight_1_replaces_the_scores_and_0_keeps_the_ranking() -> None:
    replaced = rerank(RUN, SCORED)
    assert replaced["q"] == {"a": 0.1, "b": 0.2, "c": 0.9, "d": pytest.approx(-0.9), "e": pytest.approx(-1.9)}
    assert replaced["empty"] == {}
    kept = rerank(RUN, SCORED, 0.0)["q"]
    assert sorted(kept, key=lambda document: -kept[document]) == ["a", "b", "c", "d", "e"]
    orders = set()
    for weight in np.linspace(0, 1, 11):
        scores = rerank(RUN, SCORED, float(weight))["q"]
        order = sorted(scores, key=lambda document: -scores[document])
        assert order[3:] == ["d", "e"]  # not scored by the re-ranker
        orders.add(tuple(order[:3]))
    assert {("a", "b", "c"), ("c", "b", "a")} <= orders


def test_only_the_first_documents_are_scored() -> None:
    corpus = Corpus.from_dicts([{"id": id_, "text": f"text {id_}"} for id_ in "abcde"])
    scorer = Fixed({("query", "text b")}, 1.0)
    assert score_top(RUN, {"q": "query", "empty": ""}, corpus, scorer, 3) == {
        "q": {"a": 0.0, "b": 1.0, "c": 0.0},
        "empty": {},
    }
    assert scorer.pairs == 3


def test_the_tuned_weight_depends_on_the_quality_of_the_re_ranker() -> None:
    numbers = np.random.default_rng(0)
    run, good, judgments = {}, {}, {}
    for query in map(str, range(60)):
        documents = [f"{query}-{n}" for n in range(10)]
        run[query] = dict(zip(documents, sorted(numbers.random(10).tolist(), reverse=True), strict=True))
        judgments[query] = {documents[int(numbers.integers(10))]: 1}
        good[query] = {d: float(d in judgments[query]) + 0.1 * numbers.random() for d in documents}
    bad = {query: {d: -score for d, score in scores.items()} for query, scores in good.items()}
    useful, useless = tune_reranker(run, good, judgments), tune_reranker(run, bad, judgments)
    assert useful.weight > 0 and useful.gain.low > 0
    assert useless.weight == 0 and useless.gain.mean == 0


@pytest.fixture
def relevant(dataset: Path) -> set[tuple[str, str]]:
    """Pairs of the texts of a query and a relevant document, over all splits of the toy data set."""
    pairs = set()
    for split in ("dev", "test"):
        data = DatasetSplit(Beir(dataset), split)
        number_of = data.corpus.number_of
        for query in data.queries:
            for document in data.judgments[query.id]:
                pairs.add((query.text, *data.corpus.texts([number_of[document]])))
    return pairs


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, relevant: set[tuple[str, str]], tmp_path: Path) -> object:
    """Return a function that makes every re-ranker a good one (1) or a bad one (-1)."""

    def load(sign: float) -> Fixed:
        fixed = Fixed(relevant, sign)
        monkeypatch.setattr(reranked_system, "load_reranker", lambda _: fixed)
        monkeypatch.setattr(reranked_system, "locate", lambda _: tmp_path)
        monkeypatch.setattr(reranked_system, "size_of_weights", lambda _: 1)
        return fixed

    return load


def runs(system: Reranked, dataset: Path, split: str = "test") -> tuple[dict[str, list[str]], str]:
    found = system.rank(DatasetSplit(Beir(dataset), split), 5)
    return {query: sorted(scores, key=lambda d: (-scores[d], d)) for query, scores in found.run.items()}, found.note


def test_the_weight_is_tuned_on_dev_unless_dev_is_evaluated(dataset: Path, use: object) -> None:
    use(1.0)  # type: ignore[operator]
    system = Reranked(Bm25(), "fixed", depth=5)
    assert "of the re-ranker was tuned" in runs(system, dataset)[1] and "on dev" in runs(system, dataset)[1]
    assert runs(system, dataset, "dev")[1] == ""
    assert runs(Reranked(Bm25(), "fixed", depth=5, weight=0.3), dataset)[1] == ""


def test_a_re_ranker_that_does_not_help_is_reported_or_left_out(dataset: Path, use: object) -> None:
    fixed = use(-1.0)  # type: ignore[operator]
    assert "gains nothing significant (nDCG@10" in runs(Reranked(Bm25(), "fixed", depth=5), dataset)[1]
    fixed.pairs = 0
    kept, note = runs(Reranked(Bm25(), "fixed", depth=5, keep_only_gains=True), dataset)
    assert "the re-ranker is left out, because it does not help" in note
    alone = Bm25().rank(DatasetSplit(Beir(dataset), "test"), 5).run
    assert kept == {query: sorted(scores, key=lambda d: (-scores[d], d)) for query, scores in alone.items()}
    dev = DatasetSplit(Beir(dataset), "dev")
    assert fixed.pairs <= 5 * len(dev.queries)  # no query of the evaluated split was re-ranked


def test_evaluate_passes_its_settings_on(dataset: Path, use: object, tmp_path: Path) -> None:
    use(-1.0)  # type: ignore[operator]
    command = Evaluate(
        Beir(dataset),
        systems=(Bm25(),),
        reranker="fixed",
        rerank_depth=3,
        keep_only_gains=True,
        output=tmp_path / "out",
    )
    assert any("left out" in note for note in command.run().notes)
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 1.5}, "weight must be from 0 to 1, not 1.5"),
        ({"weight": 0.5, "keep_only_gains": True}, "keep_only_gains needs a weight that is tuned"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reranked(Bm25(), "fixed", **settings)  # type: ignore[arg-type]


def test_a_search_fuses_the_scores_of_the_re_ranker(dataset: Path, relevant: set[tuple[str, str]]) -> None:
    data = DatasetSplit(Beir(dataset), "test")
    built = Retriever.build(data.corpus, indexes=["bm25"])
    query = data.queries[0]
    fused = Retriever(data.corpus, built.views, reranker=Fixed(relevant, 1.0), rerank_depth=5, rerank_weight=0.5)
    hits = fused.search(query.text, 5, depth=5)
    assert set(hits[0].parts) >= {"reranker", "found"} and {hit.parts["reranker"] for hit in hits} <= {0.0, 1.0}
    assert fused.run([query], 5)[0][query.id] == pytest.approx({hit.id: hit.score for hit in hits})
    with pytest.raises(RecipeError, match="rerank_weight: expected a number from 0 to 1, found 2"):
        Retriever(data.corpus, built.views, rerank_weight=2)
