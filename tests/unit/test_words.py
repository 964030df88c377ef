"""The first token of each word is found, whatever kind of tokenizer reads the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Core
from tokenizers.models import BPE
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

import toys
from encloze.data.records import Labelled
from encloze.text.tokenizer import Tokenizer
from encloze.text.words import encode_marked, pad_marked

SENTENCES = [["A", "river", "(deep),", "isn't", "glacierlike", "."], ["engine"], ["the", "violin-maker's", "comet"]]


def labelled(words: list[str]) -> Labelled:
    return Labelled(" ".join(words), tuple("O" for _ in words), tuple(words))


def byte_level(*, trim: bool) -> Tokenizer:
    """A byte-level BPE whose tokens take the blank before a word into them; offsets with it or without."""
    core = Core(BPE())
    core.pre_tokenizer = ByteLevel(add_prefix_space=False, trim_offsets=trim)
    core.train_from_iterator(toys.texts(), BpeTrainer(vocab_size=400, initial_alphabet=ByteLevel.alphabet()))
    return Tokenizer(core, {}, {})


KINDS = {kind: lambda kind=kind: toys.tokenizer(kind) for kind in ("wordpiece", "unigram", "bpe")}
KINDS |= {f"byte level, trim {trim}": lambda trim=trim: byte_level(trim=trim) for trim in (False, True)}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def test_words_begin_where_their_first_tokens_do(tokenizer: Tokenizer) -> None:
    for words, marked in zip(SENTENCES, encode_marked([labelled(w) for w in SENTENCES], tokenizer), strict=True):
        encoding = tokenizer.core.encode(" ".join(words), add_special_tokens=False)
        assert marked.text.ids.tolist() == encoding.ids and marked.labels == len(words)
        begins = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        for place, begin in zip(marked.first, begins, strict=True):
            first, last = encoding.offsets[place]
            assert begin - 1 <= first <= begin < last  # the token holds the word's first letter
    assert [marked.labels for marked in encode_marked([Labelled("a river", ("x",))], tokenizer)] == [1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aé中-'🙂x", min_size=1, max_size=6), min_size=1, max_size=6))
def test_words_are_those_that_tokenizers_tells(words: list[str]) -> None:
    tokenizer = toys.tokenizer()
    (marked,) = encode_marked([labelled(words)], tokenizer)
    told = tokenizer.core.encode(words, is_pretokenized=True, add_special_tokens=False)
    assert marked.text.ids.tolist() == told.ids
    assert marked.first.tolist() == [told.word_ids.index(n) if n in told.word_ids else -1 for n in range(len(words))]


def test_words_that_are_cut_off_or_have_no_token_are_not_kept() -> None:
    tokenizer = toys.tokenizer()
    tokenizer.core.normalizer = BertNormalizer()  # of which nothing is left of some letters
    texts = encode_marked([labelled(["river", "\u200b", "engine"]), labelled(["violin"])], tokenizer)
    assert texts[0].first[1] == -1
    marks = pad_marked(texts, tokenizer, 64)
    assert marks.kept.tolist() == [True, False, True, True]
    assert [marks.padded.ids[row, column] for row, column in marks.places] == [
        *(texts[0].text.ids[texts[0].first[n]] for n in (0, 2)),
        texts[1].text.ids[0],
    ]
    assert pad_marked(texts, tokenizer, 3).kept.tolist() == [True, False, False, True]
    whole = pad_marked(encode_marked([Labelled("a river", ("x",))], tokenizer), tokenizer, 3)
    assert whole.places is None and whole.kept.tolist() == [True]
