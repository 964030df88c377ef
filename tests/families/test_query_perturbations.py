"""Every perturbation leaves a query that can be asked, and always the same one."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data.records import Query
from encloze.evaluation.query_perturbations._keyboards import _ROWS, layout_of, neighbours
from encloze.evaluation.query_perturbations._letters import letters_of
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
EVERY = pytest.mark.parametrize("name", QueryPerturbation.members())
ERRORS = pytest.mark.parametrize("name", ["doubled", "dropped", "transposed", "typos"])
QUERY = "Where can I find the café's old river-boat engines?"
WORDS = st.lists(st.text("abcdefghijklmnop", min_size=1, max_size=9), min_size=1, max_size=12).map(" ".join)


def after(perturbation: QueryPerturbation, text: str, id_: str = "q", seed: int = 0) -> str:
    return perturbation.perturbed(Query(id_, text), seed)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60), id_=st.text(max_size=5), seed=st.integers(0, 9))
def test_any_text_stays_a_query_and_the_same_one(text: str, id_: str, seed: int) -> None:
    for perturbation in ALL:
        made, name = after(perturbation, text, id_, seed), perturbation.name
        assert made == after(perturbation, text, id_, seed), name
        assert bool(made.strip()) == bool(text.strip()), name
        had, has = (any(sign.isalnum() for sign in each) for each in (text, made))
        assert has == had, f"{name}: a query lost all of its letters, or got some from nowhere"


@EVERY
@pytest.mark.parametrize("text", ["", " ", "\n\t", "?", "...", "a", "Z", "7", "א", "ж", "東", "e\u0301", "I ?"])
def test_what_is_empty_or_one_letter_stays_so(name: str, text: str) -> None:
    made = after(QueryPerturbation.member(name)(), text)
    assert len(letters_of(made.strip())) <= max(1, len(letters_of(text.strip())))
    assert sum(sign.isalnum() for sign in made) == sum(sign.isalnum() for sign in text)


# Written down once: whoever changes one of these changes what every saved card was made with.
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


def test_every_perturbation_has_its_words_written_down() -> None:
    assert EXPECTED.keys() == set(QueryPerturbation.members())


def test_the_same_seed_gives_the_same_bytes_in_any_process() -> None:
    code = (
        "import sys; from encloze.data.records import Query; "
        "from encloze.evaluation.query_perturbations.base import QueryPerturbation; "
        f"made = [QueryPerturbation.member(n)().perturbed(Query('q', {QUERY!r}), 0) for n in QueryPerturbation.members()]; "
        "sys.stdout.buffer.write('\\n'.join(made).encode())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert done.stdout.decode().split("\n") == [EXPECTED[name] for name in QueryPerturbation.members()]


@ERRORS
def test_seed_and_id_draw_the_errors(name: str) -> None:
    perturbation = QueryPerturbation.member(name)()
    assert len({after(perturbation, QUERY, "q", seed) for seed in range(20)}) > 5
    assert len({after(perturbation, QUERY, str(id_)) for id_ in range(20)}) > 5


@ERRORS
@settings(max_examples=20, deadline=None)
@given(text=WORDS, share=st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_so_many_words_have_one_error(name: str, text: str, share: float) -> None:
    perturbation = QueryPerturbation.member(name)(word_fraction=share)  # type: ignore[call-arg]
    words, made = text.split(" "), after(perturbation, text).split(" ")
    can = sum(len(word) > 1 and (name != "transposed" or len(set(word)) > 1) for word in words)
    assert len(made) == len(words)
    assert sum(a != b for a, b in zip(words, made, strict=True)) == min(can, -(-len(words) * share // 1))


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_errors_are_of_their_kind(text: str) -> None:
    assert Counter(after(Transposed(word_fraction=1.0), text)) == Counter(text)
    long = sum(len(word) > 1 for word in text.split(" "))
    assert len(after(Dropped(word_fraction=1.0), text)) == len(text) - long
    assert len(after(Doubled(word_fraction=1.0), text)) == len(text) + long
    typed = after(Typos(word_fraction=1.0), text)
    off = [(a, b) for a, b in zip(text, typed, strict=True) if a != b]
    assert len(off) == long and all(b in neighbours("qwerty")[a] for a, b in off)


def test_a_letter_keeps_its_marks() -> None:
    pointed = "שָׁלוֹם"
    assert set(letters_of(after(Dropped(word_fraction=1.0), pointed))) < set(letters_of(pointed))
    assert sorted(letters_of(after(Transposed(word_fraction=1.0), pointed))) == sorted(letters_of(pointed))


# Typos


@pytest.mark.parametrize("layout", list(_ROWS))
def test_keys_touch_each_other_and_few_others(layout: str) -> None:
    near = neighbours(layout)  # type: ignore[arg-type]
    assert all(1 <= len(others) <= 7 for others in near.values())
    assert all(letter in near[other] and letter != other for letter, others in near.items() for other in others)


@pytest.mark.parametrize(
    ("layout", "letter", "near"),
    [
        ("qwerty", "g", "tyfhvb"),
        ("qwerty", "q", "wa"),
        ("qwertz", "y", "asx"),
        ("azerty", "a", "zq"),
        ("hebrew", "ש", "דז"),
        ("russian", "ф", "йцыя"),
    ],
)
def test_neighbours_are_those_of_the_keyboard(layout: str, letter: str, near: str) -> None:
    assert set(neighbours(layout)[letter]) == set(near)  # type: ignore[index,arg-type]


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
def test_a_word_is_typed_on_the_keyboard_that_has_its_letters(word: str, layout: str) -> None:
    assert layout_of(word) == layout
    typed = after(Typos(), word)
    (at,) = [at for at, (a, b) in enumerate(zip(word, typed, strict=True)) if a != b]
    assert typed[at].lower() in neighbours(layout)[word[at].lower()]  # type: ignore[index,arg-type]
    assert typed[at].isupper() == word[at].isupper()


def test_a_keyboard_can_be_named_and_letters_that_it_lacks_stay() -> None:
    assert after(Typos(layout="azerty"), "a?") == "a?"  # one letter
    assert after(Typos(layout="azerty"), "aé") in ("zé", "qé")
    assert after(Typos(layout="hebrew"), "river") == "river" and after(Typos(), "東京 12") == "東京 12"


# The others


def test_case() -> None:
    assert after(Case(), "Straße 5 à") == "STRASSE 5 À" and after(Case("lower"), "ÀB ж") == "àb ж"


@pytest.mark.parametrize(
    ("text", "bare"),
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
def test_marks_go_and_letters_stay(text: str, bare: str) -> None:
    assert unicodedata.normalize("NFC", after(Diacritics(), text)) == bare


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("What's up-to-date, (now)?", "Whats up to date now"),
        ("ד״ר כהן", "דר כהן"),
        ("¿Qué?", "Qué"),
        ("two  blanks", "two  blanks"),
        ("?!", "?!"),
    ],
)
def test_punctuation_goes(text: str, bare: str) -> None:
    assert after(Punctuation(), text) == bare


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_punctuation_comes_after_some_words(text: str) -> None:
    made = after(Punctuation("add", word_fraction=0.5), text)
    assert len(made) - len(text) == -(-len(text.split()) // 2)
    assert after(Punctuation(), made) == text


@settings(max_examples=20, deadline=None)
@given(text=WORDS)
def test_words_change_places_and_none_is_lost(text: str) -> None:
    words, made = text.split(), after(WordOrder(), text).split()
    assert Counter(made) == Counter(words)
    assert (made != words) == (len(set(words)) > 1)


def test_few_words_move_where_few_are_asked_to() -> None:
    words = [str(number) for number in range(20)]
    made = after(WordOrder(word_fraction=0.1), " ".join(words)).split()
    assert sum(a != b for a, b in zip(words, made, strict=True)) == 2


@pytest.mark.parametrize(
    ("text", "kept"),
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
def test_function_words_go(text: str, kept: str) -> None:
    assert after(StopWords(), text) == kept


def test_stop_words_can_be_named_listed_and_dropped_in_part() -> None:
    assert after(StopWords(language="german"), "the die is cast") == "the is cast"
    assert after(StopWords(custom_stop_words=("Flow",)), "the flow of air") == "the of air"
    assert len(after(StopWords(word_fraction=0.5), "the end of the road to a sea").split()) == 5


def test_words_of_another_language_are_left_alone_and_marks_do_not_hide_those_of_ones_own() -> None:
    turkish = "son nobel ödülünü hangi yazar kazandı"  # son and ne are French words, too
    assert after(StopWords(), turkish) == turkish
    assert after(StopWords(), "אֶת הַסֵּפֶר שֶׁל דָּוִד") == "הַסֵּפֶר דָּוִד"
    assert after(StopWords(), unicodedata.normalize("NFD", "où est la fête à paris")) == unicodedata.normalize(
        "NFD", "fête paris"
    )


def test_a_quotation_mark_inside_a_hebrew_word_is_gershayim() -> None:
    assert after(Punctuation(), 'מפקד צה"ל אמר "כן"') == "מפקד צהל אמר כן"


@pytest.mark.parametrize(
    "name", [n for n in QueryPerturbation.members() if hasattr(QueryPerturbation.member(n), "word_fraction")]
)
@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_is_above_0_and_at_most_1(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=f"word_fraction must be above 0 and at most 1, not {share}"):
        QueryPerturbation.member(name)(word_fraction=share)  # type: ignore[call-arg]


def test_a_name_in_a_table_says_what_is_not_as_usual() -> None:
    assert Typos().as_chosen() == "typos" and Case("lower").as_chosen() == "case (letters lower)"
    assert Typos(word_fraction=0.5, layout="hebrew").as_chosen() == "typos (word_fraction 0.5, layout hebrew)"
