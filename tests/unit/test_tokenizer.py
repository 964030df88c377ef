"""Tokenizers: training, combining marks, word starts, files, padding, and cached tokens."""

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
from encloze.text.tokenizer import MAX_WORD_PIECES, Encoded, Tokenizer, word_starts
from encloze.text.tokenizer_training import TokenizerSettings, train_tokenizer
from encloze.text.tokens import TokenizedTexts, pad_texts
from encloze.text.vocabulary_coverage import check_coverage, unknown_token_rate

KINDS = ["wordpiece", "unigram", "bpe"]
# Words that differ in combining marks only, or that are no words without them.
MARKED = {
    "hindi": ["पुस्तक", "कुत्ता", "हिन्दी", "विद्यालय", "ज़मीन", "मूँग"],
    "hebrew": ["שָׁלוֹם", "סֵפֶר", "סָפַר", "בָּרָא", "אֱלֹהִים", "יִשְׂרָאֵל"],
    "thai": ["น้ำ", "ที่นี่", "เก้าอี้", "ภูมิใจ", "ผู้ใหญ่", "สวัสดี"],
}


def train(texts: list[str], kind: str = "unigram", **settings: object) -> Tokenizer:
    return train_tokenizer(lambda: texts, TokenizerSettings(algorithm=kind, **{"vocab_size": 300, **settings}))  # type: ignore[arg-type]


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the pieces of a text as they are in the vocabulary."""
    (encoded,) = tokenizer.encode([text])
    return [str(tokenizer.backend.id_to_token(int(id_))) for id_ in encoded.ids]


def round_trip(tokenizer: Tokenizer, text: str) -> str:
    """Return the decoded tokens of a text, without spaces."""
    (encoded,) = tokenizer.encode([text])
    assert tokenizer.special_id("unk") not in encoded.ids
    return "".join(str(tokenizer.backend.decode(encoded.ids.tolist())).split())


# Algorithms


@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_covers_the_corpus_and_has_special_tokens(kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    assert unknown_token_rate(tokenizer, toys.texts()) == 0
    assert len({tokenizer.special_id(role) for role in ("pad", "unk", "cls", "sep", "mask")}) == 5  # type: ignore[arg-type]
    assert tokenizer.vocab_size <= 300
    for text in toys.texts()[:5]:
        assert round_trip(tokenizer, text) == "".join(text.lower().split())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind: str) -> None:
    assert toys.tokenizer(kind).fingerprint == toys.tokenizer(kind).fingerprint


def test_other_texts_or_settings_give_another_tokenizer() -> None:
    texts = toys.texts()
    different = [
        train(texts, "bpe"),
        train(texts[:20], "bpe"),
        train(texts, "bpe", vocab_size=290),
        train(texts, "bpe", lowercase=False),
        train(texts, "wordpiece"),
    ]
    assert len({tokenizer.fingerprint for tokenizer in different}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase_is_a_setting(kind: str) -> None:
    texts = ["A Violin and a violin", "ÉCOLE école"] * 20
    small, large = train(texts, kind), train(texts, kind, lowercase=False)
    (a, b), (c, d) = small.encode(["VIOLIN", "violin"]), large.encode(["Violin", "violin"])
    assert a.ids.tolist() == b.ids.tolist() and c.ids.tolist() != d.ids.tolist()
    assert round_trip(large, "A Violin") == "AViolin" and round_trip(small, "A Violin") == "aviolin"


def test_only_bpe_has_no_unknown_tokens() -> None:
    assert unknown_token_rate(toys.tokenizer("bpe"), ["снег 雪"]) == 0
    for kind in ("wordpiece", "unigram"):
        assert unknown_token_rate(toys.tokenizer(kind), ["снег 雪"]) >= 0.5
    assert unknown_token_rate(toys.tokenizer(), []) == 0 and unknown_token_rate(toys.tokenizer(), [""]) == 0


def test_a_tokenizer_that_does_not_know_the_texts_is_reported() -> None:
    tokenizer, own = toys.tokenizer(), toys.texts()
    check_coverage(tokenizer, own, "toy")
    with pytest.warns(UserWarning, match=r"1\d% of the tokens of the texts are unknown to the tokenizer of toy\. Use"):
        check_coverage(tokenizer, ["снег river engine violin comet harbour bakery"], "toy")
    with pytest.raises(CheckpointError, match="100% of the tokens .* so it cannot be trained on them"):
        check_coverage(tokenizer, ["снег"] * 5, "toy")


def test_too_small_vocabulary_is_rejected() -> None:
    with pytest.raises(ValueError, match="vocab_size must be 100 or more, not 99"):
        TokenizerSettings(vocab_size=99)


# Marks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", MARKED)
def test_combining_marks_are_removed_only_by_strip_accents(kind: str, language: str) -> None:
    words = MARKED[language]
    kept, dropped = (train(words * 30, kind, strip_accents=strip) for strip in (False, True))
    for word in words:
        composed = unicodedata.normalize("NFC", word)
        assert any(unicodedata.combining(letter) or unicodedata.category(letter) == "Mn" for letter in composed)
        assert round_trip(kept, word) == composed
        assert "Mn" not in {unicodedata.category(letter) for letter in round_trip(dropped, word)}


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_differ_in_marks_differ_in_tokens(kind: str) -> None:
    tokenizer = train(MARKED["hebrew"] * 30, kind)
    book, counted = tokenizer.encode(["סֵפֶר", "סָפַר"])
    assert book.ids.tolist() != counted.ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_composed_and_decomposed_letters_are_equal(kind: str) -> None:
    tokenizer = train(["café crème", "über Öl"] * 30, kind)
    for text in ("café", "über"):
        composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        assert pieces(tokenizer, composed) == pieces(tokenizer, apart)


# Words


@pytest.mark.parametrize("kind", KINDS)
def test_word_starts_are_those_of_the_pre_tokenizer(kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    (encoded,) = tokenizer.encode(["glacier orchard library"])
    assert encoded.word_starts.sum() == 3 and encoded.word_starts[0] and len(encoded.ids) == len(encoded.word_starts)
    for start, word in zip(np.flatnonzero(encoded.word_starts), ["glacier", "orchard", "library"], strict=True):
        stop = next((at for at in np.flatnonzero(encoded.word_starts) if at > start), len(encoded.ids))
        assert str(tokenizer.backend.decode(encoded.ids[start:stop].tolist())).strip() == word
    assert encoded.ids.dtype == np.int32 and encoded.word_starts.dtype == bool


def test_a_new_word_id_starts_a_word() -> None:
    assert word_starts([0, 0, 1, 2, 2, 2]).tolist() == [True, False, True, True, False, False]
    assert word_starts([None, 0, None, None, 0]).tolist() == [True] * 5
    assert word_starts([]).tolist() == [] and word_starts([]).dtype == bool


def test_each_piece_of_a_too_long_word_is_a_word() -> None:
    just, over = MAX_WORD_PIECES, MAX_WORD_PIECES + 1
    assert word_starts([0] * just).sum() == 1
    assert word_starts([0] * over).tolist() == [True] * over
    mixed = word_starts([0, 0, *[1] * over, 2, 2])
    assert mixed.tolist() == [True, False, *[True] * over, True, False]
    assert word_starts([0] * over, max_pieces=None).sum() == 1


@given(st.lists(st.integers(1, 2 * MAX_WORD_PIECES), max_size=10))
@settings(max_examples=50, deadline=None)
def test_only_words_above_the_limit_are_split(lengths: list[int]) -> None:
    starts = word_starts([word for word, length in enumerate(lengths) for _ in range(length)])
    found = np.diff([*np.flatnonzero(starts), len(starts)]).tolist()
    assert found == [part for n in lengths for part in ([n] if n <= MAX_WORD_PIECES else [1] * n)]


def test_a_sentence_without_spaces_is_not_one_word() -> None:
    sentence = "".join(MARKED["thai"]) * 3
    tokenizer = train(MARKED["thai"] * 30, "unigram", vocab_size=100)
    (encoded,) = tokenizer.encode([sentence])
    assert len(encoded.ids) > MAX_WORD_PIECES and encoded.word_starts.sum() > len(encoded.ids) / MAX_WORD_PIECES


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_loaded_unchanged(tmp_path: Path, kind: str) -> None:
    tokenizer = toys.tokenizer(kind)
    tokenizer.save(tmp_path, 64)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.special_tokens == tokenizer.special_tokens
    for before, after in zip(tokenizer.encode(toys.texts()), loaded.encode(toys.texts()), strict=True):
        assert (before.ids == after.ids).all() and (before.word_starts == after.word_starts).all()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_transformers_loads_a_saved_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = toys.tokenizer()
    tokenizer.save(tmp_path, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = toys.texts()[0]
    (ours,) = tokenizer.encode([text])
    assert theirs(text)["input_ids"] == [tokenizer.special_id("cls"), *ours.ids.tolist(), tokenizer.special_id("sep")]
    assert theirs.mask_token_id == tokenizer.special_id("mask") and theirs.pad_token_id == tokenizer.special_id("pad")
    assert Tokenizer.from_transformers(theirs).special_tokens == tokenizer.special_tokens


def test_truncation_and_padding_of_a_tokenizer_file_are_disabled(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    tokenizer.backend.enable_truncation(4)
    tokenizer.backend.enable_padding(length=4)
    tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    lengths = [len(encoded.ids) for encoded in loaded.encode(["a", toys.texts()[0]])]
    assert lengths[0] == 1 and lengths[1] > 4


def test_special_tokens_may_be_objects_or_have_other_names(tmp_path: Path) -> None:
    toys.tokenizer().backend.save(str(tmp_path / "tokenizer.json"))
    names = {"bos_token": {"content": "[CLS]"}, "eos_token": "[SEP]", "mask_token": None, "pad_token": "<none>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special_id("cls") == toys.tokenizer().special_id("cls") and "sep" in loaded.special_tokens
    for role in ("mask", "pad"):
        with pytest.raises(CheckpointError, match=f"the tokenizer has no {role} token"):
            loaded.special_id(role)  # type: ignore[arg-type]


def test_special_tokens_without_a_role_are_in_special_ids(tmp_path: Path) -> None:
    toys.tokenizer().save(tmp_path, 64)
    core = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    core.add_special_tokens(["[E1]"])
    core.add_tokens(["zeppelin"])  # an added word is not special
    core.save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer.load(tmp_path)
    assert set(found.special_ids) - set(toys.tokenizer().special_ids) == {core.token_to_id("[E1]")}
    words = pad_texts(found.encode(["[E1] zeppelin"]), found, 8).word_ids[0].tolist()
    assert words[:2] == [-1, -1] and words[2] >= 0


def test_missing_tokenizer_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path} has no tokenizer.json. Save the model's fast tokenizer"):
        Tokenizer.load(tmp_path)


# Padding


def encoded(*ids: int, starts: str = "") -> Encoded:
    return Encoded(np.array(ids, np.int32), np.array([letter == "x" for letter in starts or "x" * len(ids)]))


def test_texts_are_padded_with_special_tokens_around_them() -> None:
    tokenizer = toys.tokenizer()
    first, last, filler = (tokenizer.special_id(role) for role in ("cls", "sep", "pad"))
    padded = pad_texts([encoded(10, 11, 12, starts="x.x"), encoded(), encoded(13)], tokenizer, 64)
    assert padded.ids.tolist() == [
        [first, 10, 11, 12, last],
        [first, last, filler, filler, filler],
        [first, 13, last, filler, filler],
    ]
    assert padded.attention_mask.sum(1).tolist() == [5, 2, 3] and padded.attention_mask[:, 0].all()
    assert padded.word_ids.tolist() == [[-1, 0, 0, 1, -1], [-1] * 5, [-1, 0, -1, -1, -1]]
    assert padded.ids.dtype == padded.word_ids.dtype == np.int64 and padded.attention_mask.dtype == bool


def test_long_texts_are_truncated_and_end_with_the_last_special_token() -> None:
    tokenizer = toys.tokenizer()
    padded = pad_texts([encoded(*range(10, 30)), encoded(10)], tokenizer, 6)
    assert padded.ids.shape == (2, 6)
    assert padded.ids[0].tolist() == [tokenizer.special_id("cls"), 10, 11, 12, 13, tokenizer.special_id("sep")]


def test_batches_are_padded_to_the_longest_text() -> None:
    assert pad_texts([encoded(10, 11)], toys.tokenizer(), 512).ids.shape == (1, 4)
    assert pad_texts([], toys.tokenizer(), 512).ids.shape == (0, 2)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(3, 16))
@settings(max_examples=50, deadline=None)
def test_padding_keeps_tokens_and_word_ids(lengths: list[int], limit: int) -> None:
    tokenizer = toys_tokenizer()
    texts = [
        encoded(*range(10, 10 + length), starts="x." * 6) if length == 12 else encoded(*range(10, 10 + length))
        for length in lengths
    ]
    padded = pad_texts(texts, tokenizer, limit)
    for row, text in enumerate(texts):
        kept = min(len(text.ids), limit - 2)
        assert padded.attention_mask[row].tolist() == [at < kept + 2 for at in range(padded.ids.shape[1])]
        assert padded.ids[row, 1 : kept + 1].tolist() == text.ids[:kept].tolist()
        assert (np.diff(padded.word_ids[row, 1 : kept + 1], prepend=-1) == text.word_starts[:kept]).all()


_CACHED: list[Tokenizer] = []


def toys_tokenizer() -> Tokenizer:
    """Return the toy tokenizer, trained once for all examples."""
    if not _CACHED:
        _CACHED.append(toys.tokenizer())
    return _CACHED[0]


# Tokens on disk


def test_cached_tokens_equal_those_of_the_tokenizer() -> None:
    texts, tokenizer = ["", *toys.texts(), ""], toys.tokenizer()
    tokens = TokenizedTexts.from_texts(iter(texts), len(texts), tokenizer, "key")
    assert len(tokens) == len(texts) == 42
    for number, direct in enumerate(tokenizer.encode(texts)):
        assert tokens[number].ids.tolist() == direct.ids.tolist()
        assert tokens[number].word_starts.tolist() == direct.word_starts.tolist()
        assert tokens.lengths[number] == len(direct.ids)


def test_tokens_are_written_once_and_memory_mapped(cache: Path) -> None:
    tokenizer = toys.tokenizer()
    first = TokenizedTexts.from_texts(iter(toys.texts()), 40, tokenizer, "key")
    again = TokenizedTexts.from_texts(iter(["never", "read"]), 2, tokenizer, "key")
    assert isinstance(again.ids, np.memmap) and isinstance(again.word_starts, np.memmap)
    assert not again.ids.flags.writeable
    assert (again.ids == first.ids).all() and (again.offsets == first.offsets).all()
    assert [folder.name for folder in (cache / "tokens").iterdir()] == [f"key-{tokenizer.fingerprint}"]


def test_other_texts_or_another_tokenizer_have_their_own_cache_entry() -> None:
    one = TokenizedTexts.from_texts(iter(["glacier"]), 1, toys.tokenizer(), "a")
    two = TokenizedTexts.from_texts(iter(["glacier orchard"]), 1, toys.tokenizer(), "b")
    three = TokenizedTexts.from_texts(iter(["glacier"]), 1, toys.tokenizer("bpe"), "a")
    assert len(one.ids) < len(two.ids) and one.ids.tolist() != three.ids.tolist()


def test_empty_texts_have_no_tokens() -> None:
    tokens = TokenizedTexts.from_texts(iter(["", ""]), 2, toys.tokenizer(), "empty")
    assert len(tokens) == 2 and len(tokens[1].ids) == 0 and tokens.lengths.tolist() == [0, 0]


def test_failed_tokenization_leaves_no_files(cache: Path) -> None:
    def texts() -> object:
        yield "glacier"
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        TokenizedTexts.from_texts(texts(), 2, toys.tokenizer(), "key")  # type: ignore[arg-type]
    assert list((cache / "tokens").iterdir()) == []


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_any_white_space_separates_words_and_is_never_unknown(kind: str) -> None:
    made = toys.tokenizer(kind)
    one, other = made.encode(["a river has parts", "a river\n\nhas\tparts\n"])
    assert made.special_id("unk") not in other.ids
    if kind != "bpe":  # bpe has separate pieces for white space
        assert one.ids.tolist() == other.ids.tolist() and one.word_starts.tolist() == other.word_starts.tolist()
    assert other.word_starts.sum() >= 4
