"""A tokenizer cuts texts without losing letters or marks, knows words, and its tokens are kept on disk."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze.errors import CheckpointError
from encloze.text.tokenizer import LONGEST_WORD, Encoded, Tokenizer, word_starts
from encloze.text.tokens import Tokens, pad
from encloze.text.training import TokenizerFromCorpus, train_tokenizer, unknown_share

KINDS = ["wordpiece", "unigram", "bpe"]
# Words whose combining marks tell them apart, or without which they are no words.
MARKED = {
    "hindi": ["पुस्तक", "कुत्ता", "हिन्दी", "विद्यालय", "ज़मीन", "मूँग"],
    "hebrew": ["שָׁלוֹם", "סֵפֶר", "סָפַר", "בָּרָא", "אֱלֹהִים", "יִשְׂרָאֵל"],
    "thai": ["น้ำ", "ที่นี่", "เก้าอี้", "ภูมิใจ", "ผู้ใหญ่", "สวัสดี"],
}


def trained(texts: list[str], kind: str = "unigram", **choices: object) -> Tokenizer:
    return train_tokenizer(lambda: texts, TokenizerFromCorpus(kind=kind, **{"vocabulary": 300, **choices}))  # type: ignore[arg-type]


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """The pieces of a text, as the vocabulary spells them."""
    (encoded,) = tokenizer.encode([text])
    return [str(tokenizer.core.id_to_token(int(id_))) for id_ in encoded.ids]


def read_back(tokenizer: Tokenizer, text: str) -> str:
    """What of a text its tokens still tell, blanks aside."""
    (encoded,) = tokenizer.encode([text])
    assert tokenizer.id_of("unknown") not in encoded.ids
    return "".join(str(tokenizer.core.decode(encoded.ids.tolist())).split())


# Kinds


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_knows_the_corpus_and_its_special_tokens(kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    assert unknown_share(tokenizer, toys.texts()) == 0
    assert len({tokenizer.id_of(role) for role in ("pad", "unknown", "first", "last", "mask")}) == 5  # type: ignore[arg-type]
    assert tokenizer.size <= 300
    for text in toys.texts()[:5]:
        assert read_back(tokenizer, text) == "".join(text.lower().split())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind: str) -> None:
    assert toys.tokenizer(kind).fingerprint == toys.tokenizer(kind).fingerprint


def test_other_texts_or_settings_give_another() -> None:
    texts = toys.texts()
    different = [
        trained(texts, "bpe"),
        trained(texts[:20], "bpe"),
        trained(texts, "bpe", vocabulary=290),
        trained(texts, "bpe", lowercase=False),
        trained(texts, "wordpiece"),
    ]
    assert len({tokenizer.fingerprint for tokenizer in different}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_capitals_stay_only_where_asked(kind: str) -> None:
    texts = ["A Violin and a violin", "ÉCOLE école"] * 20
    small, large = trained(texts, kind), trained(texts, kind, lowercase=False)
    (a, b), (c, d) = small.encode(["VIOLIN", "violin"]), large.encode(["Violin", "violin"])
    assert a.ids.tolist() == b.ids.tolist() and c.ids.tolist() != d.ids.tolist()
    assert read_back(large, "A Violin") == "AViolin" and read_back(small, "A Violin") == "aviolin"


def test_bpe_writes_anything_and_others_say_what_they_do_not_know() -> None:
    assert unknown_share(toys.tokenizer("bpe"), ["снег 雪"]) == 0
    for kind in ("wordpiece", "unigram"):
        assert unknown_share(toys.tokenizer(kind), ["снег 雪"]) >= 0.5
    assert unknown_share(toys.tokenizer(), []) == 0 and unknown_share(toys.tokenizer(), [""]) == 0


def test_a_vocabulary_too_small_to_use_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary must be 100 or more, not 99"):
        TokenizerFromCorpus(vocabulary=99)


# Marks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", MARKED)
def test_combining_marks_survive_unless_asked(kind: str, language: str) -> None:
    words = MARKED[language]
    kept, dropped = (trained(words * 30, kind, strip_marks=strip) for strip in (False, True))
    for word in words:
        composed = unicodedata.normalize("NFC", word)
        assert any(unicodedata.combining(letter) or unicodedata.category(letter) == "Mn" for letter in composed)
        assert read_back(kept, word) == composed
        assert "Mn" not in {unicodedata.category(letter) for letter in read_back(dropped, word)}


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_differ_in_marks_differ_in_tokens(kind: str) -> None:
    tokenizer = trained(MARKED["hebrew"] * 30, kind)
    book, counted = tokenizer.encode(["סֵפֶר", "סָפַר"])
    assert book.ids.tolist() != counted.ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_two_spellings_of_one_letter_are_one(kind: str) -> None:
    tokenizer = trained(["café crème", "über Öl"] * 30, kind)
    for text in ("café", "über"):
        composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        assert pieces(tokenizer, composed) == pieces(tokenizer, apart)


# Words


@pytest.mark.parametrize("kind", KINDS)
def test_words_start_where_the_tokenizer_says(kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    (encoded,) = tokenizer.encode(["glacier orchard library"])
    assert encoded.starts.sum() == 3 and encoded.starts[0] and len(encoded.ids) == len(encoded.starts)
    for start, word in zip(np.flatnonzero(encoded.starts), ["glacier", "orchard", "library"], strict=True):
        stop = next((at for at in np.flatnonzero(encoded.starts) if at > start), len(encoded.ids))
        assert str(tokenizer.core.decode(encoded.ids[start:stop].tolist())).strip() == word
    assert encoded.ids.dtype == np.int32 and encoded.starts.dtype == bool


def test_a_word_goes_on_until_its_number_changes() -> None:
    assert word_starts([0, 0, 1, 2, 2, 2]).tolist() == [True, False, True, True, False, False]
    assert word_starts([None, 0, None, None, 0]).tolist() == [True] * 5
    assert word_starts([]).tolist() == [] and word_starts([]).dtype == bool


def test_a_word_of_too_many_pieces_is_so_many_words() -> None:
    just, over = LONGEST_WORD, LONGEST_WORD + 1
    assert word_starts([0] * just).sum() == 1
    assert word_starts([0] * over).tolist() == [True] * over
    mixed = word_starts([0, 0, *[1] * over, 2, 2])
    assert mixed.tolist() == [True, False, *[True] * over, True, False]
    assert word_starts([0] * over, longest=None).sum() == 1


@given(st.lists(st.integers(1, 2 * LONGEST_WORD), max_size=10))
@settings(max_examples=50, deadline=None)
def test_no_word_is_longer_than_the_limit_and_short_ones_stay_whole(lengths: list[int]) -> None:
    starts = word_starts([word for word, length in enumerate(lengths) for _ in range(length)])
    found = np.diff([*np.flatnonzero(starts), len(starts)]).tolist()
    assert found == [part for n in lengths for part in ([n] if n <= LONGEST_WORD else [1] * n)]


def test_a_sentence_without_blanks_is_not_one_word() -> None:
    sentence = "".join(MARKED["thai"]) * 3
    tokenizer = trained(MARKED["thai"] * 30, "unigram", vocabulary=100)
    (encoded,) = tokenizer.encode([sentence])
    assert len(encoded.ids) > LONGEST_WORD and encoded.starts.sum() > len(encoded.ids) / LONGEST_WORD


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same_again(tmp_path: Path, kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    tokenizer.save(tmp_path, 64)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.special == tokenizer.special
    for before, after in zip(tokenizer.encode(toys.texts()), loaded.encode(toys.texts()), strict=True):
        assert (before.ids == after.ids).all() and (before.starts == after.starts).all()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_transformers_reads_a_saved_tokenizer_alike(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = toys.tokenizer()
    tokenizer.save(tmp_path, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = toys.texts()[0]
    (ours,) = tokenizer.encode([text])
    assert theirs(text)["input_ids"] == [tokenizer.id_of("first"), *ours.ids.tolist(), tokenizer.id_of("last")]
    assert theirs.mask_token_id == tokenizer.id_of("mask") and theirs.pad_token_id == tokenizer.id_of("pad")
    assert Tokenizer.wrapping(theirs).special == tokenizer.special


def test_published_files_that_cut_and_fill_are_kept_from_it(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    tokenizer.core.enable_truncation(4)
    tokenizer.core.enable_padding(length=4)
    tokenizer.core.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    lengths = [len(encoded.ids) for encoded in loaded.encode(["a", toys.texts()[0]])]
    assert lengths[0] == 1 and lengths[1] > 4


def test_special_tokens_may_be_written_as_objects_or_under_other_names(tmp_path: Path) -> None:
    toys.tokenizer().core.save(str(tmp_path / "tokenizer.json"))
    names = {"bos_token": {"content": "[CLS]"}, "eos_token": "[SEP]", "mask_token": None, "pad_token": "<none>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.id_of("first") == toys.tokenizer().id_of("first") and "last" in loaded.special
    for role in ("mask", "pad"):
        with pytest.raises(CheckpointError, match=f"the tokenizer has no {role} token"):
            loaded.id_of(role)  # type: ignore[arg-type]


def test_special_tokens_without_a_role_are_special(tmp_path: Path) -> None:
    toys.tokenizer().save(tmp_path, 64)
    core = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    core.add_special_tokens(["[E1]"])
    core.add_tokens(["zeppelin"])  # a new word is none
    core.save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer.load(tmp_path)
    assert set(found.special_ids) - set(toys.tokenizer().special_ids) == {core.token_to_id("[E1]")}
    words = pad(found.encode(["[E1] zeppelin"]), found, 8).words[0].tolist()
    assert words[:2] == [-1, -1] and words[2] >= 0


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path} has no tokenizer.json. Save the model's fast tokenizer"):
        Tokenizer.load(tmp_path)


# Padding


def encoded(*ids: int, starts: str = "") -> Encoded:
    return Encoded(np.array(ids, np.int32), np.array([letter == "x" for letter in starts or "x" * len(ids)]))


def test_texts_become_a_rectangle_with_special_tokens_around_them() -> None:
    tokenizer = toys.tokenizer()
    first, last, filler = (tokenizer.id_of(role) for role in ("first", "last", "pad"))
    padded = pad([encoded(10, 11, 12, starts="x.x"), encoded(), encoded(13)], tokenizer, 64)
    assert padded.ids.tolist() == [
        [first, 10, 11, 12, last],
        [first, last, filler, filler, filler],
        [first, 13, last, filler, filler],
    ]
    assert padded.attention.sum(1).tolist() == [5, 2, 3] and padded.attention[:, 0].all()
    assert padded.words.tolist() == [[-1, 0, 0, 1, -1], [-1] * 5, [-1, 0, -1, -1, -1]]
    assert padded.ids.dtype == padded.words.dtype == np.int64 and padded.attention.dtype == bool


def test_long_texts_are_cut_to_the_limit_their_last_token_kept() -> None:
    tokenizer = toys.tokenizer()
    padded = pad([encoded(*range(10, 30)), encoded(10)], tokenizer, 6)
    assert padded.ids.shape == (2, 6)
    assert padded.ids[0].tolist() == [tokenizer.id_of("first"), 10, 11, 12, 13, tokenizer.id_of("last")]


def test_the_rectangle_is_as_narrow_as_the_texts_allow() -> None:
    assert pad([encoded(10, 11)], toys.tokenizer(), 512).ids.shape == (1, 4)
    assert pad([], toys.tokenizer(), 512).ids.shape == (0, 2)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(3, 16))
@settings(max_examples=50, deadline=None)
def test_padding_keeps_the_tokens_and_their_words(lengths: list[int], limit: int) -> None:
    tokenizer = toys_tokenizer()
    texts = [
        encoded(*range(10, 10 + length), starts="x." * 6) if length == 12 else encoded(*range(10, 10 + length))
        for length in lengths
    ]
    padded = pad(texts, tokenizer, limit)
    for row, text in enumerate(texts):
        kept = min(len(text.ids), limit - 2)
        assert padded.attention[row].tolist() == [at < kept + 2 for at in range(padded.ids.shape[1])]
        assert padded.ids[row, 1 : kept + 1].tolist() == text.ids[:kept].tolist()
        assert (np.diff(padded.words[row, 1 : kept + 1], prepend=-1) == text.starts[:kept]).all()


_KEPT: list[Tokenizer] = []


def toys_tokenizer() -> Tokenizer:
    """The toy tokenizer, trained once for all examples."""
    if not _KEPT:
        _KEPT.append(toys.tokenizer())
    return _KEPT[0]


# Tokens on disk


def test_a_tokenised_collection_reads_like_the_tokenizer() -> None:
    texts, tokenizer = ["", *toys.texts(), ""], toys.tokenizer()
    tokens = Tokens.of(iter(texts), len(texts), tokenizer, "key")
    assert len(tokens) == len(texts) == 42
    for number, direct in enumerate(tokenizer.encode(texts)):
        assert tokens[number].ids.tolist() == direct.ids.tolist()
        assert tokens[number].starts.tolist() == direct.starts.tolist()
        assert tokens.lengths[number] == len(direct.ids)


def test_tokens_are_made_once_and_mapped(cache: Path) -> None:
    tokenizer = toys.tokenizer()
    first = Tokens.of(iter(toys.texts()), 40, tokenizer, "key")
    again = Tokens.of(iter(["never", "read"]), 2, tokenizer, "key")
    assert isinstance(again.ids, np.memmap) and isinstance(again.starts, np.memmap)
    assert not again.ids.flags.writeable
    assert (again.ids == first.ids).all() and (again.offsets == first.offsets).all()
    assert [folder.name for folder in (cache / "tokens").iterdir()] == [f"key-{tokenizer.fingerprint}"]


def test_other_texts_or_another_tokenizer_are_tokenised_anew() -> None:
    one = Tokens.of(iter(["glacier"]), 1, toys.tokenizer(), "a")
    two = Tokens.of(iter(["glacier orchard"]), 1, toys.tokenizer(), "b")
    three = Tokens.of(iter(["glacier"]), 1, toys.tokenizer("bpe"), "a")
    assert len(one.ids) < len(two.ids) and one.ids.tolist() != three.ids.tolist()


def test_a_collection_of_empty_texts_has_no_tokens() -> None:
    tokens = Tokens.of(iter(["", ""]), 2, toys.tokenizer(), "empty")
    assert len(tokens) == 2 and len(tokens[1].ids) == 0 and tokens.lengths.tolist() == [0, 0]


def test_tokenising_that_fails_leaves_nothing(cache: Path) -> None:
    def texts() -> object:
        yield "glacier"
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        Tokens.of(texts(), 2, toys.tokenizer(), "key")  # type: ignore[arg-type]
    assert list((cache / "tokens").iterdir()) == []


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_white_space_of_any_kind_parts_words_and_is_never_unknown(kind: str) -> None:
    made = toys.tokenizer(kind)
    one, other = made.encode(["a river has parts", "a river\n\nhas\tparts\n"])
    assert made.id_of("unknown") not in other.ids
    if kind != "bpe":  # which keeps white space, in pieces of its own
        assert one.ids.tolist() == other.ids.tolist() and one.starts.tolist() == other.starts.tolist()
    assert other.starts.sum() >= 4
