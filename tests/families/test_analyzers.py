"""Properties of every text analyzer, and the terms of each."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encloze.data.words import normalize_text, truncate_words
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.hebrew import Hebrew
from encloze.search.analyzers.plain import Plain
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.analyzers.unicode import Unicode

EVERY = pytest.mark.parametrize("name", Analyzer.members())


@EVERY
def test_case_and_punctuation_are_ignored(name: str) -> None:
    analyzer = Analyzer.member(name)()
    assert analyzer.words("Broken ENGINES, violins!") == analyzer.words("broken engines -- violins") != []


@EVERY
@given(text=st.text(max_size=60))
def test_any_text_is_accepted(name: str, text: str) -> None:
    words = Analyzer.member(name)().words(text)
    assert all(isinstance(word, str) and word for word in words)
    assert words == Analyzer.member(name)().words(text)


@EVERY
@pytest.mark.parametrize("text", ["", " \n", "?!... --"])
def test_a_text_without_letters_has_no_terms(name: str, text: str) -> None:
    assert Analyzer.member(name)().words(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The River's 2 banks, x_1", ["the", "river", "s", "2", "banks", "x_1"]),
        ("Élan ÜBER Straße", ["élan", "über", "straße"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
    ],
)
def test_plain_terms_are_runs_of_letters_and_digits(text: str, words: list[str]) -> None:
    assert Plain().words(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京大学", ["東京", "京大", "大学"]),
        ("東京", ["東京"]),
        ("水", ["水"]),
        ("東京 大阪", ["東京", "大阪"]),
        ("東京。大阪", ["東京", "大阪"]),  # no bigram spans punctuation
        ("ひらカナ", ["ひら", "らカ", "カナ"]),
        ("コーヒー", ["コー", "ーヒ", "ヒー"]),
        ("人々", ["人々"]),
        ("ﾊﾝｶｸ", ["ﾊﾝ", "ﾝｶ", "ｶｸ"]),
        ("Python入門と3章", ["python", "入門", "門と", "3", "章"]),
        ("한국어 문서", ["한국어", "문서"]),  # Korean separates words by spaces
        ("ก็ดี", ["ก", "ด"]),  # \w does not match combining marks
    ],
)
def test_plain_splits_chinese_and_japanese_into_bigrams(text: str, words: list[str]) -> None:
    assert Plain().words(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The River's 2 banks, x_1", ["the", "river", "s", "2", "banks", "x_1"]),
        ("Élan ÜBER Straße", ["élan", "über", "straße"]),
        (unicodedata.normalize("NFD", "Élan"), ["élan"]),
        ("हिन्दी में क्\u200dष", ["हिन्दी", "में", "क्ष"]),
        ("הַשַּׁבָּת וְהַסֵּפֶר", ["השבת", "והספר"]),
        ("الْعَرَبِيَّة", ["العربية"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("ก็ดี", ["ก็ดี"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("東京大学", ["東京", "京大", "大学"]),
        ("Python入門と3章", ["python", "入門", "門と", "3", "章"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("\u0301 - \u0301a", ["a"]),
    ],
)
def test_unicode_keeps_combining_marks_except_vowel_points(text: str, words: list[str]) -> None:
    assert Unicode().words(text) == words


@given(text=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z"]), max_size=40))
def test_unicode_equals_plain_without_combining_marks(text: str) -> None:
    text = unicodedata.normalize("NFKC", text)
    if (
        not re.search("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]", text)
        and text.lower() == unicodedata.normalize("NFC", text).lower()
        and not any(unicodedata.category(letter)[0] == "M" for letter in text.lower())
    ):
        assert Unicode().words(text) == Plain().words(text)


def test_plain_splits_a_word_alike_in_any_context() -> None:
    assert Plain().words("engine") == ["engine"]
    assert "engine" in Plain().words("engine と 水車")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("הספרים ובבית ומהספרייה", ["ספרים", "בית", "ספרייה"]),
        ("וְהַסֵּפֶר", ["ספר"]),
        ("של שבת במלך מלך", ["של", "שבת", "מלך", "מלך"]),  # three letters remain
        ("ישראל והכלכלה כלכלה", ["ישראל", "כלה", "כלה"]),  # from the beginning only
        ("הABC Hello 12", ["הabc", "hello", "12"]),
    ],
)
def test_hebrew_words_lose_their_prefixes(text: str, words: list[str]) -> None:
    assert Hebrew().words(text) == words


def test_inflected_forms_have_the_same_stem() -> None:
    stems = Stemmed().words("connected connecting connection connections")
    assert stems == ["connect"] * 4


def test_stop_words_are_removed_for_english_only() -> None:
    assert Stemmed().words("this is the river of an engine") == ["river", "engin"]
    assert Stemmed("german").words("die Häuser sind alt") == ["die", "haus", "sind", "alt"]


def test_a_query_of_stop_words_has_no_terms() -> None:
    assert Stemmed().words("to be or not to be") == []


def test_an_unknown_language_is_rejected_with_suggestions() -> None:
    with pytest.raises(
        ValueError, match=r"no stemmer for 'englisch'; did you mean 'english'\? known: .*arabic.*turkish"
    ):
        Stemmed("englisch")


def test_an_unknown_analyzer_is_rejected_with_suggestions() -> None:
    with pytest.raises(ValueError, match=r"unknown analyzer 'stemed'; did you mean 'stemmed'\? known: .*plain"):
        Analyzer.member("stemed")


@pytest.mark.parametrize(
    ("text", "count", "truncated"),
    [
        ("one two  three four", 3, "one two three"),
        ("one", 3, "one"),
        ("a state-of-the-art thing", 3, "a"),
        ("吾輩は猫である。名前は", 4, "吾輩は猫"),
        ("in 吾輩は猫である", 4, "in 吾輩は"),
        ("", 3, ""),
    ],
)
def test_a_text_is_truncated_to_its_first_words(text: str, count: int, truncated: str) -> None:
    assert truncate_words(text, count) == truncated


def test_normalization_ignores_case_but_keeps_punctuation_only_texts_apart() -> None:
    assert normalize_text("What  IS it?") == normalize_text("what is it") == "what is it"
    assert len({normalize_text(text) for text in ("?", "...", "!", "")}) == 4
