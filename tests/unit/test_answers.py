"""An excerpt is the piece of a text that has most of a query's words, with these marked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.reporting.answers import marked

words = st.sampled_from("a river runs through the old town and its HARBOUR , again .".split())


def test_the_words_of_the_query_are_marked_wherever_they_stand() -> None:
    assert marked("The River runs; a riverboat.", {"river", "runs"}) == [
        ("The ", False), ("River", True), (" ", False), ("runs", True), ("; a riverboat.", False)
    ]  # fmt: skip


def test_of_a_long_text_the_piece_is_shown_that_has_most_different_words() -> None:
    text = "engine engine engine " + "x " * 100 + "the engine of the harbour " + "y " * 100
    runs = marked(text, {"engine", "harbour"}, letters=40)
    assert [run for run, is_word in runs if is_word] == ["engine", "harbour"]
    assert runs[0] == ("... ", False) and runs[-1] == (" ...", False)


def test_words_of_scripts_without_blanks_are_marked_by_their_pairs() -> None:
    assert ("東京都", True) in marked("東京都 です", {"東京"})


def test_a_word_longer_than_the_excerpt_is_shown_whole() -> None:
    assert "".join(run for run, _ in marked("z" * 50, {"zz"}, letters=10)).strip(" .") == "z" * 50


def test_no_text_has_no_excerpt() -> None:
    assert marked("", {"river"}) == marked("  \n ", set()) == []


@settings(deadline=None, max_examples=80)
@given(st.lists(words, max_size=60), st.integers(5, 80))
def test_an_excerpt_is_a_piece_of_the_text(tokens: list[str], letters: int) -> None:
    text, known = " ".join(tokens), {"river", "harbour"}
    runs = marked(text, known, letters)
    shown = "".join(run for run, _ in runs).removeprefix("... ").removesuffix(" ...")
    assert shown in text and (len(shown) <= letters or " " not in shown)
    assert all((run.lower() in known) == is_word for run, is_word in runs if run.strip(" ."))
    if not text or len(text) <= letters:
        assert shown == text
