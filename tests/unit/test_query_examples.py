"""An excerpt is the part of a text with the most words of a query, which are highlighted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.reporting.query_examples import highlight

words = st.sampled_from("a river runs through the old town and its HARBOUR , again .".split())


def test_words_of_the_query_are_highlighted() -> None:
    assert highlight("The River runs; a riverboat.", {"river", "runs"}) == [
        ("The ", False), ("River", True), (" ", False), ("runs", True), ("; a riverboat.", False)
    ]  # fmt: skip


def test_the_excerpt_of_a_long_text_has_the_most_different_words() -> None:
    text = "engine engine engine " + "x " * 100 + "the engine of the harbour " + "y " * 100
    pieces = highlight(text, {"engine", "harbour"}, characters=40)
    assert [piece for piece, is_word in pieces if is_word] == ["engine", "harbour"]
    assert pieces[0] == ("... ", False) and pieces[-1] == (" ...", False)


def test_words_of_scripts_without_spaces_are_highlighted_by_bigrams() -> None:
    assert ("東京都", True) in highlight("東京都 です", {"東京"})


def test_a_word_longer_than_the_excerpt_is_not_cut() -> None:
    assert "".join(piece for piece, _ in highlight("z" * 50, {"zz"}, characters=10)).strip(" .") == "z" * 50


def test_an_empty_text_has_no_excerpt() -> None:
    assert highlight("", {"river"}) == highlight("  \n ", set()) == []


@settings(deadline=None, max_examples=80)
@given(st.lists(words, max_size=60), st.integers(5, 80))
def test_an_excerpt_is_a_part_of_the_text(tokens: list[str], characters: int) -> None:
    text, known = " ".join(tokens), {"river", "harbour"}
    pieces = highlight(text, known, characters)
    shown = "".join(piece for piece, _ in pieces).removeprefix("... ").removesuffix(" ...")
    assert shown in text and (len(shown) <= characters or " " not in shown)
    assert all((piece.lower() in known) == is_word for piece, is_word in pieces if piece.strip(" ."))
    if not text or len(text) <= characters:
        assert shown == text
