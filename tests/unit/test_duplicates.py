"""Groups of near-identical texts, and the similarity of texts by their shingles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze.data import duplicates
from encloze.data.duplicates import group_duplicates
from encloze.data.shingles import jaccard_similarity, max_similarity, shingle_hashes
from encloze.data.words import split_words


def shingles(text: str) -> np.ndarray:
    return shingle_hashes(split_words(text))


def linked(texts: list[str], similarity: float) -> list[int]:
    """Return the groups by comparing every pair of texts, word by word."""
    words = [text.split() for text in texts]
    sets = [{tuple(w[start : start + 4]) for start in range(max(1, len(w) - 3))} if w else set() for w in words]
    groups = list(range(len(texts)))
    for first, second in itertools.combinations(range(len(texts)), 2):
        union = len(sets[first] | sets[second])
        if words[first] == words[second] or (union and len(sets[first] & sets[second]) >= similarity * union):
            low, high = sorted((groups[first], groups[second]))
            groups = [low if group == high else group for group in groups]
    return groups


def test_texts_that_differ_in_case_and_punctuation_share_a_group() -> None:
    texts = ["One thing.", "another", "one, THING", "Another!", "third"]
    assert group_duplicates(texts, 1.0).tolist() == [0, 1, 0, 1, 4]
    assert group_duplicates(texts).tolist() == [0, 1, 0, 1, 4]


def test_similar_texts_share_a_group_from_the_threshold_on() -> None:
    words = [f"w{number}" for number in range(40)]
    near = [*words[:-1], "other"]  # 36 of 38 distinct shingles are shared
    far = [word if number % 4 else "x" for number, word in enumerate(words)]
    texts = [" ".join(each) for each in (words, far, near)]
    assert group_duplicates(texts, 0.9).tolist() == [0, 1, 0]
    assert group_duplicates(texts, 0.96).tolist() == [0, 1, 2]
    assert group_duplicates(texts, 1.0).tolist() == [0, 1, 2]


def test_a_chain_of_similar_texts_is_one_group() -> None:
    words = [f"w{number}" for number in range(100)]
    chain = [" ".join(words[start : start + 80]) for start in (0, 4, 8, 12, 16)]
    assert group_duplicates([*chain[::2], "apart", *chain[1::2]], 0.85).tolist() == [0, 0, 0, 3, 0, 0]


def test_texts_without_words_share_a_group() -> None:
    assert group_duplicates(["", "a b c d e", "...", "a"]).tolist() == [0, 1, 0, 3]
    assert group_duplicates([]).tolist() == []


def test_groups_are_deterministic_and_named_by_their_first_text() -> None:
    texts = toys.texts() + toys.texts()[::-1]
    groups = group_duplicates(texts, 0.5)
    assert groups.dtype == np.int64 and (groups == group_duplicates(texts, 0.5)).all()
    assert (groups <= np.arange(80)).all() and (groups[groups] == groups).all()
    assert groups[40:].tolist() == groups[:40][::-1].tolist()


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=14).map(" ".join), max_size=14),
    st.sampled_from([0.05, 0.2, 1 / 3, 0.5, 0.6, 0.8, 0.95]),
)
@settings(max_examples=150, deadline=None)
def test_groups_are_those_of_all_pairs(texts: list[str], similarity: float) -> None:
    assert group_duplicates(texts, similarity).tolist() == linked(texts, similarity)


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.75])
def test_no_pair_of_longer_texts_is_missed(similarity: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_PAIRS_AT_A_TIME", 7)
    draw = np.random.default_rng(0)
    texts = []
    for number in range(40):
        words = [f"n{number}w{word}" if number % 3 else f"w{word}" for word in range(60)]
        for changes in draw.integers(0, 20, 4):
            changed = {int(place): f"x{draw.integers(10**6)}" for place in draw.choice(60, changes, replace=False)}
            texts.append(" ".join(changed.get(place, word) for place, word in enumerate(words)))
    groups = group_duplicates(texts, similarity).tolist()
    assert groups == linked(texts, similarity) and 1 < len(set(groups)) < len(texts)


def test_many_texts_with_the_same_words_at_their_ends_are_not_linked() -> None:
    ends = " ".join(f"common{number}" for number in range(30))
    texts = [f"{ends} {' '.join(f't{text}w{word}' for word in range(30))}" for text in range(300)]
    assert group_duplicates(texts, 0.8).tolist() == list(range(300))
    assert set(group_duplicates(texts, 0.25).tolist()) == {0}


def test_maximum_similarity_to_several_texts() -> None:
    texts = [shingles("one two three four five"), shingles("six seven")]
    assert max_similarity(shingles("One two, three four five!"), texts) == 1
    assert max_similarity(shingles("six seven"), texts) == 1
    assert max_similarity(shingles("one two three four nine"), texts) == pytest.approx(1 / 3)
    assert max_similarity(shingles("any"), []) == max_similarity(shingles(""), texts) == 0
    assert max_similarity(shingles("one two three four"), texts, threshold=0.6) == 0  # 1 of 2 shingles is the most


def test_the_order_of_words_matters() -> None:
    assert jaccard_similarity(shingles("one two three"), shingles("three two one")) == 0
    assert jaccard_similarity(shingles("one two"), shingles("one two two")) == 0


def test_similarity_of_texts_without_spaces() -> None:
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い所で"
    texts = [shingles(text + "泣いていた")]
    assert max_similarity(shingles(text + "鳴いた"), texts) > 0.75  # differs in the last word
    assert max_similarity(shingles("親譲りの無鉄砲で小供の時から損ばかりしている"), texts) < 0.1
