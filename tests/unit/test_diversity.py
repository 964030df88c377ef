"""Diverse hits: near-copies are replaced, and the order by score is kept where nothing is repeated."""

from __future__ import annotations

import numpy as np
import pytest

from encloze import Document, Hit, Retriever
from encloze.errors import RecipeError
from encloze.retrieval.diversity import diversify

TEXTS = ["rivers flow into the sea", "rivers flow into the sea!", "rivers freeze in winter", "violins have strings"]


def hits_of(texts: list[str]) -> list[Hit]:
    """Return hits whose scores fall from 1."""
    return [Hit(str(n), 1 - n / 10, {}, Document(str(n), "", text)) for n, text in enumerate(texts)]


def test_a_copy_makes_room_for_another_text() -> None:
    assert [hit.id for hit in diversify(hits_of(TEXTS), 2, 0.0)] == ["0", "1"]
    assert [hit.id for hit in diversify(hits_of(TEXTS), 3, 0.4)] == ["0", "2", "3"]
    everything = diversify(hits_of(TEXTS), 9, 0.4)
    assert [hit.id for hit in everything] == ["0", "2", "3", "1"]
    assert [hit.score for hit in everything] == [1, 0.8, 0.7, 0.9]


def test_the_choice_maximizes_marginal_relevance() -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list("abcdefgh"), 5)) for _ in range(12)]
    hits, diversity = hits_of(texts), 0.5
    words = sorted(set(" ".join(texts).split()))
    counts = np.array([[text.split().count(word) for word in words] for text in texts])
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * np.log(1 + 12 / (counts > 0).sum(axis=0))
    cosines = weights @ weights.T / np.outer(*[np.linalg.norm(weights, axis=1)] * 2)
    scores = np.array([hit.score for hit in hits])
    relevance, chosen = (scores - scores.min()) / np.ptp(scores), [0]
    while len(chosen) < 6:
        left = [n for n in range(12) if n not in chosen]
        gains = [(1 - diversity) * relevance[n] - diversity * max(cosines[n, m] for m in chosen) for n in left]
        chosen.append(left[int(np.argmax(gains))])
    assert [int(hit.id) for hit in diversify(hits, 6, diversity)] == chosen


@pytest.mark.parametrize("texts", [[], [""], ["", "..."], ["same", "same", "same"]])
def test_texts_without_words_and_equal_texts(texts: list[str]) -> None:
    hits = [hit._replace(score=1.0) for hit in hits_of(texts)]
    assert sorted(hit.id for hit in diversify(hits, 5, 1.0)) == [str(n) for n in range(len(texts))]


def test_a_search_for_diverse_hits() -> None:
    documents = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
    retriever = Retriever.build(documents, indexes=["bm25"])
    both = retriever.search(["rivers flow", "violins"], 2, diversity=0.6, explain=True)
    assert [[hit.id for hit in hits] for hits in both] == [["0", "2"], ["3"]]
    assert both[0][1].explanation is not None
    for wrong in (-0.1, 1.1, float("nan"), "much", True):
        with pytest.raises(RecipeError, match=r"diversity: expected a number from 0 to 1"):
            retriever.search("rivers", diversity=wrong)  # type: ignore[arg-type]
