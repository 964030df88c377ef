"""Properties of every query expansion, and the equality of RM3 with Anserini's."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import toys
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.search.analyzers.plain import Plain
from encloze.search.analyzers.unicode import Unicode
from encloze.search.expanded_search import ExpandedSearcher
from encloze.search.expansions.base import Expansion, FeedbackDocument
from encloze.search.expansions.rm3 import Rm3
from encloze.search.indexes.bm25 import Bm25, Bm25Searcher
from encloze.systems.bm25 import Bm25 as Bm25System

EVERY = pytest.mark.parametrize("name", Expansion.members())
QUERIES = ["the river records", "broken engine tools", "harbour harbour watches", "no-such-word", ""]


@pytest.fixture
def index(tmp_path: Path) -> Bm25Searcher:
    (tmp_path / "index").mkdir()
    Bm25(analyzer=Unicode()).build(toys.texts(), tmp_path / "index")
    return Bm25().open(tmp_path / "index")


def expanded_search(index: Bm25Searcher, expansion: Expansion) -> ExpandedSearcher:
    return ExpandedSearcher(index, expansion, lambda numbers: [toys.texts()[number] for number in numbers])


@EVERY
def test_an_expanded_query_still_finds_its_document(name: str, index: Bm25Searcher) -> None:
    queries = [row["text"] for row in toys.queries()]
    results = expanded_search(index, Expansion.member(name)()).search(queries, 5)
    assert np.mean([number in numbers for number, numbers in enumerate(results.numbers)]) > 0.9


@EVERY
def test_search_and_score_agree(name: str, index: Bm25Searcher) -> None:
    searcher = expanded_search(index, Expansion.member(name)())
    results = searcher.search(QUERIES, 40)
    listed = [numbers[numbers >= 0] for numbers in results.numbers]
    for scores, expected, numbers in zip(searcher.score(QUERIES, listed), results.scores, listed, strict=True):
        np.testing.assert_allclose(scores, expected[: len(numbers)], rtol=1e-5)


@EVERY
def test_a_query_without_hits_is_not_changed(name: str) -> None:
    assert Expansion.member(name)().expand(Counter("ab"), [], lambda word: 0.0) == Counter("ab")


# -------------------------------------------------------------------------------------------------------------- rm3


def anserini_rm3(query: str, documents: int, terms: int, original: float) -> dict[str, float]:
    """Return the expanded query by the steps of Anserini's Rm3Reranker, with Lucene's BM25 for the first search."""
    texts = [re.findall(r"\w+", text.lower()) for text in toys.texts()]
    query_terms, mean = re.findall(r"\w+", query.lower()), sum(map(len, texts)) / len(texts)
    dfs = {word: sum(word in text for text in texts) for text in texts for word in text}
    scores = []
    for text in texts:
        score = 0.0
        for word in query_terms:
            count, df = text.count(word), dfs.get(word, 0)
            if count:
                idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
                score += idf * count / (count + 1.2 * (0.25 + 0.75 * len(text) / mean))
        scores.append(score)
    ranked = sorted((n for n in range(len(texts)) if scores[n] > 0), key=lambda n: (-scores[n], n))[:documents]
    vectors = []
    for number in ranked:
        vector: dict[str, float] = {}
        for word in texts[number]:
            if len(word) < 2 or len(word) > 20 or dfs[word] / len(texts) > 0.1:
                continue
            vector[word] = vector.get(word, 0) + 1
        vectors.append(dict(sorted(vector.items(), key=lambda item: (-item[1], item[0]))[:terms]))  # pruneToSize
    model: dict[str, float] = {}
    for word in {word for vector in vectors for word in vector}:
        model[word] = 0.0
        for number, vector in zip(ranked, vectors, strict=True):
            if sum(vector.values()) > 0.001:
                model[word] += vector.get(word, 0) / sum(vector.values()) * scores[number]
    model = dict(sorted(model.items(), key=lambda item: (-item[1], item[0]))[:terms])
    query_model = {word: query_terms.count(word) / len(query_terms) for word in query_terms}
    return {
        word: original * query_model.get(word, 0) + (1 - original) * model.get(word, 0) / sum(model.values())
        for word in {*query_model, *model}
    }


@pytest.mark.parametrize("settings", [(10, 10, 0.5), (3, 4, 0.8), (1, 2, 0.0)])
@pytest.mark.parametrize("query", QUERIES[:3])
def test_rm3_equals_anserinis(index: Bm25Searcher, query: str, settings: tuple[int, int, float]) -> None:
    expansion = Rm3(settings[0], feedback_terms=settings[1], original_query_weight=settings[2])
    expected = anserini_rm3(query, *settings)
    (weights,) = expanded_search(index, expansion).expand([query])
    assert dict(weights) == pytest.approx(expected, rel=1e-5)
    by_terms = index.search_terms([expected], 40)
    results = expanded_search(index, expansion).search([query], 40)
    assert results.numbers[results.scores > 1e-4].tolist() == by_terms.numbers[by_terms.scores > 1e-4].tolist()


def test_rm3_ignores_short_long_and_frequent_terms() -> None:
    words = {"a": 9.0, "of": 8.0, "x" * 21: 7.0, "rare": 1.0, "x" * 20: 1.0}
    weights = Rm3().expand({"q": 2.0}, [FeedbackDocument(words, 3.0)], lambda word: 0.11 if word == "of" else 0.1)
    assert weights == pytest.approx({"q": 0.5, "rare": 0.25, "x" * 20: 0.25})


def test_documents_without_usable_terms_do_not_change_the_query() -> None:
    assert Rm3().expand({"q": 2.0}, [FeedbackDocument({"of": 3.0}, 1.0)], lambda word: 0.5) == {"q": 2.0}


@pytest.mark.parametrize("settings", [{"feedback_documents": 0}, {"feedback_terms": 0}, {"original_query_weight": 1.5}])
def test_settings_out_of_range_are_rejected(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be (1 or more|0 or more and at most 1), not "):
        Rm3(**settings)  # type: ignore[arg-type]


def test_bm25_with_rm3_returns_documents_without_a_query_term(dataset: Path) -> None:
    given = DatasetSplit(Beir(dataset), "test")
    system = Bm25System(expansion=Rm3())
    assert (
        system.default_title() == "bm25 rm3"
        and Bm25System(tune_on="dev", expansion=Rm3()).default_title() == "bm25 tuned rm3"
    )
    plain, more = (one.rank(given, 40).run for one in (Bm25System(), system))
    assert all(set(plain[query]) <= set(more[query]) for query in plain)
    wanted, words = (
        {q.id: set(Plain().words(q.text)) for q in given.queries},
        dict(zip(given.corpus.ids, given.corpus.texts(), strict=True)),
    )
    assert any(not wanted[query] & set(Plain().words(words[document])) for query in more for document in more[query])
