"""Query perturbations return a non-empty query, deterministically, with the documented changes."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.records import Query
from encloze.evaluation.graphemes import split_graphemes
from encloze.evaluation.keyboards import Layout, adjacent_letters, detect_layout
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.evaluation.query_perturbations.case import Case
from encloze.evaluation.query_perturbations.diacritics import Diacritics
from encloze.evaluation.query_perturbations.doubled import Doubled
from encloze.evaluation.query_perturbations.dropped import Dropped
from encloze.evaluation.query_perturbations.punctuation import Punctuation
from encloze.evaluation.query_perturbations.stop_words import StopWords
from encloze.evaluation.query_perturbations.transposed import Transposed
from encloze.evaluation.query_perturbations.typos import Typos
from encloze.evaluation.query_perturbations.word_order import WordOrder

ALL = [QueryPerturbation.member(name)() for name in QueryPerturbation.members()]
MISSPELLINGS = ("doubled", "dropped", "transposed", "typos")
QUERY = "Where can I find the café's old river-boat engines?"
WORDS = st.lists(st.text("abcdefghijklmnop", min_size=1, max_size=9), min_size=1, max_size=12).map(" ".join)


def perturb(perturbation: QueryPerturbation, text: str, id_: str = "q", seed: int = 0) -> str:
    return perturbation.perturb_query(Query(id_, text), seed)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60), id_=st.text(max_size=5), seed=st.integers(0, 9))
def test_results_are_deterministic_and_keep_some_letters(text: str, id_: str, seed: int) -> None:
    for perturbation in ALL:
        perturbed, name = perturb(perturbation, text, id_, seed), perturbation.name
        assert perturbed == perturb(perturbation, text, id_, seed), name
        assert bool(perturbed.strip()) == bool(text.strip()), name
        had_letters, has_letters = (any(character.isalnum() for character in each) for each in (text, perturbed))
        assert has_letters == had_letters, name


def test_empty_queries_and_single_letters_keep_their_length() -> None:
    for text in ("", " ", "\n\t", "?", "...", "a", "Z", "7", "א", "ж", "東", "e\u0301", "I ?"):
        for perturbation in ALL:
            perturbed = perturb(perturbation, text)
            assert len(split_graphemes(perturbed.strip())) <= max(1, len(split_graphemes(text.strip())))
            assert sum(c.isalnum() for c in perturbed) == sum(c.isalnum() for c in text), (perturbation.name, text)


# A change of one of these texts invalidates the comparison with saved robustness reports.
EXPECTED = {
    "case": "WHERE CAN I FIND THE CAFÉ'S OLD RIVER-BOAT ENGINES?",
    "diacritics": "Where can I find the cafe's old river-boat engines?",
    "doubled": "Where caan I ffind the caféé's old river-boat engines?",
    "dropped": "Where can I find the café's ld rivr-oat engines?",
    "punctuation": "Where can I find the cafés old river boat engines",
    "stop_words": "find café's old river-boat engines?",
    "transposed": "hWere can I find the café's old river-baot negines?",
    "typos": "Whete can I find the café's olc river-boqt engines?",
    "word_order": "the I Where old engines? can find café's river-boat",
}


def test_every_perturbation_has_an_expected_result() -> None:
    assert EXPECTED.keys() == set(QueryPerturbation.members())


def test_results_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from encloze.data.records import Query; "
        "from encloze.evaluation.query_perturbations.base import QueryPerturbation; "
        f"query, members = Query('q', {QUERY!r}), map(QueryPerturbation.member, QueryPerturbation.members()); "
        "texts = [member().perturb_query(query, 0) for member in members]; "
        "sys.stdout.buffer.write('\\n'.join(texts).encode())"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert completed.stdout.decode().split("\n") == [EXPECTED[name] for name in QueryPerturbation.members()]


def test_misspellings_depend_on_seed_and_query_id() -> None:
    for name in MISSPELLINGS:
        perturbation = QueryPerturbation.member(name)()
        assert len({perturb(perturbation, QUERY, "q", seed) for seed in range(20)}) > 5, name
        assert len({perturb(perturbation, QUERY, str(id_)) for id_ in range(20)}) > 5, name


@settings(max_examples=20, deadline=None)
@given(text=WORDS, fraction=st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_misspellings_change_the_given_fraction_of_words(text: str, fraction: float) -> None:
    for name in MISSPELLINGS:
        perturbation = QueryPerturbation.member(name)(word_fraction=fraction)  # type: ignore[call-arg]
        words, perturbed = text.split(" "), perturb(perturbation, text).split(" ")
        changeable = sum(len(word) > 1 and (name != "transposed" or len(set(word)) > 1) for word in words)
        assert len(perturbed) == len(words)
        changed = sum(a != b for a, b in zip(words, perturbed, strict=True))
        assert changed == min(changeable, -(-len(words) * fraction // 1)), name


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_each_misspelling_makes_its_kind_of_error(text: str) -> None:
    assert Counter(perturb(Transposed(word_fraction=1.0), text)) == Counter(text)
    long = sum(len(word) > 1 for word in text.split(" "))
    assert len(perturb(Dropped(word_fraction=1.0), text)) == len(text) - long
    assert len(perturb(Doubled(word_fraction=1.0), text)) == len(text) + long
    typed = perturb(Typos(word_fraction=1.0), text)
    off = [(a, b) for a, b in zip(text, typed, strict=True) if a != b]
    assert len(off) == long and all(b in adjacent_letters("qwerty")[a] for a, b in off)


def test_combining_marks_stay_with_their_letters() -> None:
    pointed = "שָׁלוֹם"
    assert set(split_graphemes(perturb(Dropped(word_fraction=1.0), pointed))) < set(split_graphemes(pointed))
    assert sorted(split_graphemes(perturb(Transposed(word_fraction=1.0), pointed))) == sorted(split_graphemes(pointed))


# Keyboards


def test_adjacency_of_keys_is_symmetric() -> None:
    for layout in get_args(Layout):
        adjacent = adjacent_letters(layout)
        assert all(1 <= len(others) <= 7 for others in adjacent.values())
        assert all(
            letter in adjacent[other] and letter != other for letter, others in adjacent.items() for other in others
        )


@pytest.mark.parametrize(
    ("layout", "letter", "adjacent"),
    [
        ("qwerty", "g", "tyfhvb"),
        ("qwerty", "q", "wa"),
        ("qwertz", "y", "asx"),
        ("azerty", "a", "zq"),
        ("hebrew", "ש", "דז"),
        ("russian", "ф", "йцыя"),
    ],
)
def test_adjacent_letters_are_those_of_the_keyboard(layout: Layout, letter: str, adjacent: str) -> None:
    assert set(adjacent_letters(layout)[letter]) == set(adjacent)


@pytest.mark.parametrize(
    ("word", "layout"),
    [
        ("river", "qwerty"),
        ("Flüsse", "qwertz"),
        ("où", "azerty"),
        ("שלום", "hebrew"),
        ("مرحبا", "arabic"),
        ("привет", "russian"),
        ("γραφω", "greek"),
    ],
)
def test_typos_use_the_layout_that_has_the_letters_of_the_word(word: str, layout: Layout) -> None:
    assert detect_layout(word) == layout
    typed = perturb(Typos(), word)
    (at,) = [at for at, (a, b) in enumerate(zip(word, typed, strict=True)) if a != b]
    assert typed[at].lower() in adjacent_letters(layout)[word[at].lower()]
    assert typed[at].isupper() == word[at].isupper()


def test_letters_that_the_layout_lacks_are_not_changed() -> None:
    assert perturb(Typos(layout="azerty"), "a?") == "a?"  # one letter
    assert perturb(Typos(layout="azerty"), "aé") in ("zé", "qé")
    assert perturb(Typos(layout="hebrew"), "river") == "river" and perturb(Typos(), "東京 12") == "東京 12"


# Other perturbations


def test_case_converts_all_letters() -> None:
    assert perturb(Case(), "Straße 5 à") == "STRASSE 5 À" and perturb(Case("lower"), "ÀB ж") == "àb ж"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("naïve Ångström, ÉLÈVE é", "naive Angstrom, ELEVE é".replace("é", "e")),
        ("e\u0301te\u0301", "ete"),
        ("Άνθρωπος ΐ", "Ανθρωπος ι"),
        ("שָׁלוֹם עֲלֵיכֶם", "שלום עליכם"),
        ("בֵּית־סֵפֶר", "בית־ספר"),
        ("مُحَمَّدٌ أَحْمَد آدم", "محمد أحمد آدم"),
        ("йод ёж हिन्दी ไทย 한글 が", "йод ёж हिन्दी ไทย 한글 が"),
    ],
)
def test_diacritics_are_removed_in_latin_greek_hebrew_and_arabic(text: str, expected: str) -> None:
    assert unicodedata.normalize("NFC", perturb(Diacritics(), text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's up-to-date, (now)?", "Whats up to date now"),
        ("ד״ר כהן", "דר כהן"),
        ("¿Qué?", "Qué"),
        ("two  blanks", "two  blanks"),
        ("?!", "?!"),
    ],
)
def test_punctuation_is_removed(text: str, expected: str) -> None:
    assert perturb(Punctuation(), text) == expected


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_punctuation_is_added_after_the_given_fraction_of_words(text: str) -> None:
    perturbed = perturb(Punctuation("add", word_fraction=0.5), text)
    assert len(perturbed) - len(text) == -(-len(text.split()) // 2)
    assert perturb(Punctuation(), perturbed) == text


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_word_order_permutes_the_words(text: str) -> None:
    words, perturbed = text.split(), perturb(WordOrder(), text).split()
    assert Counter(perturbed) == Counter(words)
    assert (perturbed != words) == (len(set(words)) > 1)


def test_word_order_moves_the_given_fraction_of_words() -> None:
    words = [str(number) for number in range(20)]
    perturbed = perturb(WordOrder(word_fraction=0.1), " ".join(words)).split()
    assert sum(a != b for a, b in zip(words, perturbed, strict=True)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of the old kingdom?", "capital old kingdom?"),
        ("Wann wurde die Brücke über den Rhein gebaut?", "Brücke Rhein gebaut?"),
        ("Quelle est la hauteur de la tour ?", "hauteur tour ?"),
        ("¿Cuándo se fundó la ciudad?", "¿ fundó ciudad?"),
        ("מה היא הבירה של צרפת?", "הבירה צרפת?"),
        ("ما هي عاصمة فرنسا؟", "عاصمة فرنسا؟"),
        ("Какая столица у Франции?", "столица Франции?"),
        ("Ποια είναι η πρωτεύουσα;", "πρωτεύουσα;"),
        ("the river's up-to-date map", "river's up-to-date map"),
        ("Où est l'eau", "l'eau"),
        ("who is it", "who is it"),
    ],
)
def test_stop_words_are_removed(text: str, expected: str) -> None:
    assert perturb(StopWords(), text) == expected


def test_stop_words_of_a_language_a_custom_list_and_a_fraction() -> None:
    assert perturb(StopWords(language="german"), "the die is cast") == "the is cast"
    assert perturb(StopWords(custom_stop_words=("Flow",)), "the flow of air") == "the of air"
    assert len(perturb(StopWords(word_fraction=0.5), "the end of the road to a sea").split()) == 5


def test_stop_words_ignore_other_languages_and_match_pointed_and_decomposed_words() -> None:
    turkish = "son nobel ödülünü hangi yazar kazandı"  # "son" and "ne" are in the French list
    assert perturb(StopWords(), turkish) == turkish
    assert perturb(StopWords(), "אֶת הַסֵּפֶר שֶׁל דָּוִד") == "הַסֵּפֶר דָּוִד"
    assert perturb(StopWords(), unicodedata.normalize("NFD", "où est la fête à paris")) == unicodedata.normalize(
        "NFD", "fête paris"
    )


def test_a_quotation_mark_inside_a_hebrew_word_is_treated_as_gershayim() -> None:
    assert perturb(Punctuation(), 'מפקד צה"ל אמר "כן"') == "מפקד צהל אמר כן"


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_a_fraction_out_of_range_raises(fraction: float) -> None:
    members = [QueryPerturbation.member(name) for name in QueryPerturbation.members()]
    for member in (member for member in members if hasattr(member, "word_fraction")):
        with pytest.raises(ValueError, match=f"word_fraction must be above 0 and at most 1, not {fraction}"):
            member(word_fraction=fraction)  # type: ignore[call-arg]


def test_the_name_in_tables_has_the_settings_that_are_not_defaults() -> None:
    assert Typos().summary() == "typos" and Case("lower").summary() == "case (letters lower)"
    assert Typos(word_fraction=0.5, layout="hebrew").summary() == "typos (word_fraction 0.5, layout hebrew)"
