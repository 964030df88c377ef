"""Explanations of hits: parts of scores, ranks, and the words to highlight."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_changes import Both, document

from encloze import Retriever
from encloze.cli.display.console import show
from encloze.commands.search import Search

TEXT = "The rivers of the north flow. " * 20 + "Engines burn fuel. " + "Other words follow here. " * 20


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    documents = [document(number) for number in range(30)]
    fusion = {"type": "weighted", "weights": [0.2, 0.5, 0.3]}
    return Retriever.build(documents, Both(), indexes=["flat", "inverted", "bm25"], fusion=fusion)


def test_the_parts_of_a_score_add_up(retriever: Retriever) -> None:
    hits = retriever.search("jazz hex hex egg", 10, explain=True)
    assert [hit.explanation.rank for hit in hits] == list(range(1, 11))
    for hit in hits:
        flat, inverted, bm25 = hit.explanation.views
        assert {view.name: view.score for view in hit.explanation.views} == hit.parts
        assert (flat.weight, inverted.weight, bm25.weight) == (0.2, 0.5, 0.3) and not flat.terms
        assert hit.explanation.score == hit.score
        for view in (inverted, bm25):
            assert sum(view.terms.values()) == pytest.approx(view.score, rel=1e-4)
            assert list(view.terms.values()) == sorted(view.terms.values(), reverse=True)
        assert set(bm25.terms) == {"jazz", "hex", "egg"} & set(hit.text.split())
        assert {hit.text[begin:end] for begin, end in hit.explanation.words} == set(bm25.terms)


def test_the_rank_in_each_index_is_that_of_a_search_in_it_alone(retriever: Retriever) -> None:
    hits = retriever.search("jazz hex", 8, explain=True)
    for place, view in enumerate(retriever.views):
        alone = [hit.id for hit in Retriever(retriever.corpus, [view]).search("jazz hex", 100)]
        for hit in hits:
            rank = hit.explanation.views[place].rank
            assert rank == (alone.index(hit.id) + 1 if hit.id in alone else None)


def test_without_explain_there_is_none_and_the_hits_are_the_same(retriever: Retriever) -> None:
    plain, explained = (retriever.search("cab deed", 5, explain=explain) for explain in (False, True))
    assert all(hit.explanation is None for hit in plain)
    assert [hit[:4] for hit in plain] == [hit[:4] for hit in explained]
    assert retriever.search("zzzz", 5, filter="number > 100", explain=True) == []


def test_stemmed_words_are_found_in_the_text() -> None:
    stemmed = Retriever.build([TEXT, "a boat"], indexes=[{"type": "bm25", "analyzer": "stemmed"}])
    (hit,) = stemmed.search("engine fuels", explain=True)
    assert [hit.text[begin:end] for begin, end in hit.explanation.words] == ["Engines", "fuel"]
    assert set(hit.explanation.views[0].terms) == {"engin", "fuel"} and hit.explanation.views[0].weight is None


def test_words_with_vowel_points_are_found_in_the_text() -> None:
    text = "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd"
    pointed = Retriever.build([text, "a boat"], indexes=["bm25"])
    (hit,) = pointed.search("\u05e9\u05dc\u05d5\u05dd", explain=True)
    assert hit.explanation.words == ((0, 7),)


def test_the_command_line_shows_the_passage_and_the_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Retriever.build([TEXT, "a boat"], indexes=["bm25"], output=tmp_path / "index")
    for explain in (False, True):
        show(Search(index=tmp_path / "index", query="engine fuel", explain=explain).run())
        output = capsys.readouterr().out
        assert "Engines burn fuel." in output and ("bm25: " in output) == explain
        assert all(line == line.rstrip() for line in output.splitlines())
    assert "rank 1" in output and "fuel " in output
