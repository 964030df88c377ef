"""Labeled words: the first token of each word is found with every kind of tokenizer."""

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
from encloze.data.records import LabeledText
from encloze.text.labeled import encode_labeled, pad_labeled
from encloze.text.tokenizer import Tokenizer

SENTENCES = [["A", "river", "(deep),", "isn't", "glacierlike", "."], ["engine"], ["the", "violin-maker's", "comet"]]


def labeled(words: list[str]) -> LabeledText:
    return LabeledText(" ".join(words), tuple("O" for _ in words), tuple(words))


def byte_level(*, trim: bool) -> Tokenizer:
    """Return a byte-level BPE tokenizer, whose tokens include the space before a word. ``trim``: offsets exclude it."""
    core = Core(BPE())
    core.pre_tokenizer = ByteLevel(add_prefix_space=False, trim_offsets=trim)
    core.train_from_iterator(toys.texts(), BpeTrainer(vocab_size=400, initial_alphabet=ByteLevel.alphabet()))
    return Tokenizer(core, {}, {})


KINDS = {kind: lambda kind=kind: toys.tokenizer(kind) for kind in ("wordpiece", "unigram", "bpe")}
KINDS |= {f"byte level, trim {trim}": lambda trim=trim: byte_level(trim=trim) for trim in (False, True)}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def test_first_tokens_contain_the_first_letter_of_a_word(tokenizer: Tokenizer) -> None:
    for words, tokens in zip(SENTENCES, encode_labeled([labeled(w) for w in SENTENCES], tokenizer), strict=True):
        encoding = tokenizer.backend.encode(" ".join(words), add_special_tokens=False)
        assert tokens.tokens.ids.tolist() == encoding.ids and tokens.num_labels == len(words)
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        for position, start in zip(tokens.first_tokens, starts, strict=True):
            first, last = encoding.offsets[position]
            assert start - 1 <= first <= start < last  # the token contains the first letter of the word
    assert [tokens.num_labels for tokens in encode_labeled([LabeledText("a river", ("x",))], tokenizer)] == [1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aé中-'🙂x", min_size=1, max_size=6), min_size=1, max_size=6))
def test_first_tokens_agree_with_pre_tokenized_input(words: list[str]) -> None:
    tokenizer = toys.tokenizer()
    (tokens,) = encode_labeled([labeled(words)], tokenizer)
    expected = tokenizer.backend.encode(words, is_pretokenized=True, add_special_tokens=False)
    assert tokens.tokens.ids.tolist() == expected.ids
    assert tokens.first_tokens.tolist() == [
        expected.word_ids.index(n) if n in expected.word_ids else -1 for n in range(len(words))
    ]


def test_words_that_are_cut_off_or_have_no_token_are_masked() -> None:
    tokenizer = toys.tokenizer()
    tokenizer.backend.normalizer = BertNormalizer()  # removes some characters
    texts = encode_labeled([labeled(["river", "\u200b", "engine"]), labeled(["violin"])], tokenizer)
    assert texts[0].first_tokens[1] == -1
    padded = pad_labeled(texts, tokenizer, 64)
    assert padded.label_mask.tolist() == [True, False, True, True]
    assert [padded.padded.ids[row, column] for row, column in padded.positions] == [
        *(texts[0].tokens.ids[texts[0].first_tokens[n]] for n in (0, 2)),
        texts[1].tokens.ids[0],
    ]
    assert pad_labeled(texts, tokenizer, 3).label_mask.tolist() == [True, False, False, True]
    whole = pad_labeled(encode_labeled([LabeledText("a river", ("x",))], tokenizer), tokenizer, 3)
    assert whole.positions is None and whole.label_mask.tolist() == [True]
