"""Every way to expand a query keeps its promises, and RM3 is Anserini's, step by step."""

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
from encloze.search.expanded import Expanded
from encloze.search.expansions.base import Expansion, Feedback
from encloze.search.expansions.rm3 import Rm3
from encloze.search.indexes.bm25 import Bm25, OpenBm25
from encloze.systems.bm25 import Bm25 as Bm25System

EVERY = pytest.mark.parametrize("name", Expansion.members())
QUERIES = ["the river records", "broken engine tools", "harbour harbour watches", "no-such-word", ""]


@pytest.fixture
def index(tmp_path: Path) -> OpenBm25:
    (tmp_path / "index").mkdir()
    Bm25().build(toys.texts(), tmp_path / "index")
    return Bm25().open(tmp_path / "index")


def expanded(index: OpenBm25, expansion: Expansion) -> Expanded:
    return Expanded(index, expansion, lambda numbers: [toys.texts()[number] for number in numbers])


@EVERY
def test_an_expanded_query_still_finds_what_it_asks_for(name: str, index: OpenBm25) -> None:
    queries = [row["text"] for row in toys.queries()]
    found = expanded(index, Expansion.member(name)()).search(queries, 5)
    assert np.mean([number in numbers for number, numbers in enumerate(found.numbers)]) > 0.9


@EVERY
def test_search_and_score_agree(name: str, index: OpenBm25) -> None:
    searched = expanded(index, Expansion.member(name)())
    found = searched.search(QUERIES, 40)
    listed = [numbers[numbers >= 0] for numbers in found.numbers]
    for scores, expected, numbers in zip(searched.score(QUERIES, listed), found.scores, listed, strict=True):
        np.testing.assert_allclose(scores, expected[: len(numbers)], rtol=1e-5)


@EVERY
def test_a_query_that_finds_nothing_stays_what_it_is(name: str) -> None:
    assert Expansion.member(name)().expand(Counter("ab"), [], lambda word: 0.0) == Counter("ab")


# -------------------------------------------------------------------------------------------------------------- rm3


def by_the_letter(query: str, documents: int, terms: int, original: float) -> dict[str, float]:
    """RM3 as Anserini's Rm3Reranker does it, over plain lists, with its own BM25 (Lucene's) for the first hits."""
    texts = [re.findall(r"\w+", text.lower()) for text in toys.texts()]
    asked, mean = re.findall(r"\w+", query.lower()), sum(map(len, texts)) / len(texts)
    holding = {word: sum(word in text for text in texts) for text in texts for word in text}
    scores = []
    for text in texts:
        score = 0.0
        for word in asked:
            count, df = text.count(word), holding.get(word, 0)
            if count:
                rarity = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
                score += rarity * count / (count + 1.2 * (0.25 + 0.75 * len(text) / mean))
        scores.append(score)
    ranked = sorted((n for n in range(len(texts)) if scores[n] > 0), key=lambda n: (-scores[n], n))[:documents]
    vectors = []
    for number in ranked:
        vector: dict[str, float] = {}
        for word in texts[number]:
            if len(word) < 2 or len(word) > 20 or holding[word] / len(texts) > 0.1:
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
    own = {word: asked.count(word) / len(asked) for word in asked}
    return {
        word: original * own.get(word, 0) + (1 - original) * model.get(word, 0) / sum(model.values())
        for word in {*own, *model}
    }


@pytest.mark.parametrize("settings", [(10, 10, 0.5), (3, 4, 0.8), (1, 2, 0.0)])
@pytest.mark.parametrize("query", QUERIES[:3])
def test_rm3_is_anserinis_by_the_letter(index: OpenBm25, query: str, settings: tuple[int, int, float]) -> None:
    expansion = Rm3(documents=settings[0], terms=settings[1], original=settings[2])
    expected = by_the_letter(query, *settings)
    (found,) = expanded(index, expansion)._expand([query])
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    again = index.search_words([expected], 40)
    ranked = expanded(index, expansion).search([query], 40)
    assert ranked.numbers[ranked.scores > 1e-4].tolist() == again.numbers[again.scores > 1e-4].tolist()


def test_rm3_leaves_out_words_that_are_short_long_or_everywhere() -> None:
    words = {"a": 9.0, "of": 8.0, "x" * 21: 7.0, "rare": 1.0, "x" * 20: 1.0}
    found = Rm3().expand({"q": 2.0}, [Feedback(words, 3.0)], lambda word: 0.11 if word == "of" else 0.1)
    assert found == pytest.approx({"q": 0.5, "rare": 0.25, "x" * 20: 0.25})


def test_documents_with_nothing_to_give_leave_the_query_as_it_is() -> None:
    assert Rm3().expand({"q": 2.0}, [Feedback({"of": 3.0}, 1.0)], lambda word: 0.5) == {"q": 2.0}


@pytest.mark.parametrize("settings", [{"documents": 0}, {"terms": 0}, {"original": 1.5}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="documents and terms must be 1 or more and original from 0 to 1, not "):
        Rm3(**settings)  # type: ignore[arg-type]


def test_bm25_with_rm3_is_named_so_and_finds_documents_without_a_word_of_the_query(dataset: Path) -> None:
    given = DatasetSplit(Beir(dataset), "test")
    system = Bm25System(expansion=Rm3())
    assert system.label() == "bm25 rm3" and Bm25System(tune_on="dev", expansion=Rm3()).label() == "bm25 tuned rm3"
    plain, more = (one.rank(given, 40).run for one in (Bm25System(), system))
    assert all(set(plain[query]) <= set(more[query]) for query in plain)
    wanted, words = (
        {q.id: set(Plain().words(q.text)) for q in given.queries},
        dict(zip(given.corpus.ids, given.corpus.texts(), strict=True)),
    )
    assert any(not wanted[query] & set(Plain().words(words[document])) for query in more for document in more[query])
