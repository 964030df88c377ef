"""Spans: every token in one part, cut at word starts, and neighbours as their sources say."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.beir import Beir
from encloze.data.records import Document
from encloze.text.spans import Spans
from encloze.text.tokens import Tokens

Text = tuple[list[int], str | None, int | None]  # lengths of its words, source, position

words_of = st.lists(st.integers(1, 9), max_size=14)
sources = st.sampled_from([None, "a", "b", "c"])
texts_of = st.lists(st.tuples(words_of, sources, st.none() | st.integers(-2, 3)), min_size=1, max_size=9)
limits = st.integers(3, 14)  # max_tokens
UNHURRIED = settings(deadline=None)  # each example writes a corpus


def tokens_of(texts: Sequence[Text]) -> Tokens:
    """Every token has its place in the store as its id."""
    lengths = [sum(words) for words, _, _ in texts]
    starts = np.zeros(sum(lengths), bool)
    all_words = [word for words, _, _ in texts for word in words]
    starts[np.cumsum([0, *all_words])[:-1]] = True
    return Tokens(np.arange(sum(lengths), dtype=np.int32), starts, np.append(0, np.cumsum(lengths)).astype(np.int64))


def corpus_of(texts: Sequence[Text]) -> Corpus:
    documents = [Document(f"{n}", "", "text", source, position) for n, (_, source, position) in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        return Corpus.of(documents, Path(folder) / "corpus.arrow")


def spans_of(texts: Sequence[Text], max_tokens: int, least: int = 1) -> Spans:
    return Spans.of(tokens_of(texts), corpus_of(texts), max_tokens, least)


def read(spans: Spans, texts: Sequence[Text]) -> list[list[int]]:
    """The spans of each source in the order of reading, worked out one by one."""
    found: dict[object, list[int]] = {}
    for number in range(len(spans)):
        text = int(spans.texts[number])
        found.setdefault(texts[text][1] or text, []).append(number)

    def place(number: int) -> tuple[bool, int, int]:
        position = texts[int(spans.texts[number])][2]
        return position is None, position or 0, number

    return [sorted(numbers, key=place) for numbers in found.values()]


# ----------------------------------------------------------------------------------------------------------- cutting


@UNHURRIED
@given(texts_of, limits)
def test_every_token_is_in_exactly_one_span_and_none_is_above_the_limit(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    held = [spans[number] for number in range(len(spans))]
    assert [int(id_) for span in held for id_ in span.ids] == list(range(sum(sum(words) for words, _, _ in texts)))
    assert [len(span.ids) for span in held] == spans.lengths.tolist()
    assert spans.lengths.max(initial=0) <= limit - 2
    for number, span in enumerate(held):
        begin, end = (int(spans.tokens.offsets[int(spans.texts[number]) + side]) for side in (0, 1))
        assert begin <= span.ids[0] and span.ids[-1] < end
        assert span.ids.dtype == np.int32 and span.starts.dtype == np.bool_ and span.starts[0]


@UNHURRIED
@given(texts_of, limits)
def test_parts_start_at_word_starts_but_in_words_longer_than_a_part(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    lengths = np.array([word for words, _, _ in texts for word in words], np.int64)
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    for begin in spans.begins:
        assert spans.tokens.starts[begin] or lengths[word_of[begin]] > limit - 2


def fewest(words: list[int], most: int) -> int:
    """The fewest parts of a text, by trying everything."""
    places = {0, *np.cumsum(words).tolist()}
    for begin, word in zip(np.cumsum([0, *words])[:-1].tolist(), words, strict=True):
        places |= set(range(begin, begin + word)) if word > most else set()
    needed = {0: 0}
    for place in sorted(places)[1:]:
        needed[place] = 1 + min(parts for before, parts in needed.items() if place - before <= most)
    return needed[sum(words)]


@UNHURRIED
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), limits)
def test_parts_are_as_few_as_can_be(words: list[int], limit: int) -> None:
    assert len(spans_of([(words, None, None)], limit)) == fewest(words, limit - 2)


@UNHURRIED
@given(st.integers(1, 200), limits)
def test_parts_are_of_like_length_where_words_allow_it(count: int, limit: int) -> None:
    lengths = spans_of([([1] * count, None, None)], limit).lengths
    assert len(lengths) == -(-count // (limit - 2)) and lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(
    ("words", "limit", "parts"),
    [
        ([3, 3, 3, 1], 9, [6, 4]),  # an even cut at 5 is inside a word; 6 is nearer than 3
        ([4, 3, 3], 9, [4, 6]),  # and here the earlier one is the nearer
        ([3, 2, 3], 6, [3, 2, 3]),  # two parts would do, but not at word starts
        ([2, 2, 2, 4], 6, [4, 2, 4]),
        ([1, 9, 1], 6, [4, 4, 3]),  # the word is longer than a part
        ([4, 1, 1, 1, 1], 6, [4, 4]),
        ([1, 1, 1, 1, 4, 4], 8, [4, 4, 4]),
    ],
)
def test_parts_worked_out_by_hand(words: list[int], limit: int, parts: list[int]) -> None:
    assert spans_of([(words, None, None)], limit).lengths.tolist() == parts


@UNHURRIED
@given(texts_of)
def test_where_nothing_is_long_or_left_out_a_span_is_a_text(texts: list[Text]) -> None:
    tokens = tokens_of(texts)
    spans = Spans.of(tokens, corpus_of(texts), 1000, least=0)
    assert len(spans) == len(texts) and spans.left_out == 0
    assert (spans.texts == np.arange(len(texts))).all() and (spans.lengths == tokens.lengths).all()
    for number in range(len(texts)):
        assert (spans[number].ids == tokens[number].ids).all() and (spans[number].starts == tokens[number].starts).all()


@UNHURRIED
@given(texts_of, limits, st.integers(1, 8))
def test_short_spans_are_left_out_and_counted(texts: list[Text], limit: int, least: int) -> None:
    everything, spans = spans_of(texts, limit, least=0), spans_of(texts, limit, least)
    kept = everything.lengths >= least
    assert (spans.begins == everything.begins[kept]).all() and (spans.texts == everything.texts[kept]).all()
    assert spans.left_out == (~kept).sum()


def test_spans_of_less_than_four_tokens_are_left_out_unless_told_otherwise() -> None:
    texts: list[Text] = [([1] * length, "a", None) for length in (3, 4, 0, 5)]
    spans = Spans.of(tokens_of(texts), corpus_of(texts), 100)
    assert spans.texts.tolist() == [1, 3] and spans.left_out == 2
    assert spans.after.tolist() == [1, -1]  # what is left out parts nobody


@UNHURRIED
@given(texts_of, limits, st.data())
def test_any_stretch_is_a_text_that_starts_with_a_word(texts: list[Text], limit: int, data: st.DataObject) -> None:
    spans = spans_of(texts, limit)
    begin = data.draw(st.integers(0, len(spans.tokens.ids)))
    end = data.draw(st.integers(begin, len(spans.tokens.ids)))
    before = spans.tokens.starts.copy()
    stretch = spans.slice(begin, end)
    assert stretch.ids.tolist() == list(range(begin, end)) and stretch.starts[:1].all()
    assert (stretch.starts[1:] == before[begin + 1 : end]).all() and (spans.tokens.starts == before).all()


# -------------------------------------------------------------------------------------------------------- neighbours


@UNHURRIED
@given(texts_of, limits, st.integers(1, 4))
def test_neighbours_are_those_of_the_source_in_the_order_of_positions(
    texts: list[Text], limit: int, least: int
) -> None:
    spans = spans_of(texts, limit, least)
    before, after = np.full(len(spans), -1), np.full(len(spans), -1)
    for numbers in read(spans, texts):
        assert len(set(spans.group[numbers].tolist())) == 1
        for one, other in pairwise(numbers):
            after[one], before[other] = other, one
    assert spans.before.tolist() == before.tolist() and spans.after.tolist() == after.tolist()
    assert len(set(spans.group.tolist())) == len(read(spans, texts))


@UNHURRIED
@given(texts_of, limits)
def test_neighbours_are_symmetric(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    has = np.flatnonzero(spans.before >= 0)
    assert (spans.after[spans.before[has]] == has).all()
    assert (spans.group[spans.before[has]] == spans.group[has]).all()
    assert (spans.after >= 0).sum() == len(has)


@UNHURRIED
@given(texts_of, limits, st.integers(1, 4))
def test_around_a_span_are_those_within_reach(texts: list[Text], limit: int, reach: int) -> None:
    spans = spans_of(texts, limit)
    for numbers in read(spans, texts):
        for at, number in enumerate(numbers):
            assert spans.around(number, reach).tolist() == numbers[max(0, at - reach) : at + reach + 1]


def test_texts_of_a_source_need_not_stand_together() -> None:
    ten = [1] * 10
    texts: list[Text] = [
        (ten, "a", 5),
        (ten, None, 0),
        (ten, "b", None),
        (ten, "a", None),
        ([1] * 20, "a", 2),
        (ten, None, 0),
        (ten, "b", None),
        (ten, "a", 2),
    ]
    spans = spans_of(texts, 12)
    assert spans.texts.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    assert spans.around(4, 9).tolist() == [4, 5, 8, 0, 3]  # positions 2 (its parts), 2, 5 and none
    assert spans.around(2, 9).tolist() == [2, 7]
    assert spans.around(1, 9).tolist() == [1] and spans.around(6, 9).tolist() == [6]
    assert spans.before.tolist() == [8, -1, -1, 0, -1, 4, -1, 2, 5]


def test_the_parts_of_a_text_without_a_source_are_neighbours() -> None:
    spans = spans_of([([1] * 10, None, None), ([1] * 30, None, None)], 12)
    assert spans.after.tolist() == [-1, 2, 3, -1] and spans.group.tolist() == [0, 1, 1, 1]


def test_a_corpus_of_more_texts_than_a_batch_of_its_file_is_one_list_of_sources(tmp_path: Path) -> None:
    count = 9000  # the file is written in batches of 4096
    corpus = Corpus.of(
        [Document(f"{n}", "", "x", None if n % 10 == 0 else f"{n % 7}") for n in range(count)], tmp_path / "c"
    )
    spans = Spans.of(tokens_of([([1] * 5, None, None)] * count), corpus, 16)
    sources = [object() if n % 10 == 0 else n % 7 for n in range(count)]
    assert len(np.unique(spans.group)) == len(set(sources))
    for number in (1, 4095, 4096, 8191, 8192):
        expected = next((n for n in range(number + 1, count) if sources[n] == sources[number]), -1)
        assert spans.after[number] == expected


def test_nothing_but_short_texts_gives_no_spans() -> None:
    spans = spans_of([([1], "a", 0), ([], "a", 1)], 12, least=4)
    assert len(spans) == 0 and spans.left_out == 2
    assert spans.before.tolist() == spans.after.tolist() == spans.lengths.tolist() == []


def test_spans_of_a_real_data_set(dataset: Path) -> None:
    corpus, tokenizer = Corpus.open(Beir(dataset)), toys.tokenizer()
    tokens = Tokens.of(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
    spans = Spans.of(tokens, corpus, 64)
    assert isinstance(tokens.ids, np.memmap) and spans.tokens is tokens
    assert len(spans) == 40 and spans.around(5, 100).tolist() == [4, 5, 6, 7]
    cut = Spans.of(tokens, corpus, 12)
    assert len(cut) > 80 and cut.lengths.max() == 10
    assert [id_ for n in range(len(cut)) for id_ in cut[n].ids.tolist()] == tokens.ids.tolist()


class Heard(progress.Listener):
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.tasks: list[progress.Task] = []

    def started(self, task: progress.Task) -> None:
        self.tasks.append(task)


def test_cutting_is_reported_where_there_is_something_to_cut() -> None:
    with progress.listening(Heard()) as heard:
        spans_of([([1] * 10, None, None)] * 3, 12)
        assert isinstance(heard, Heard) and not heard.tasks
        spans_of([([1] * 10, None, None), ([1] * 11, None, None)], 12)
    assert [(task.title, task.total, task.done) for task in heard.tasks] == [("Cutting long texts", 1, 1)]


def test_short_texts_are_not_looped_over() -> None:
    count = 200_000
    corpus = corpus_of([([], f"{n % 50_000}", n % 11) for n in range(count)])
    tokens = Tokens(np.zeros(10 * count, np.int32), np.ones(10 * count, bool), np.arange(0, 10 * count + 1, 10))
    start = time.perf_counter()
    spans = Spans.of(tokens, corpus, 64)
    assert (spans.after >= 0).sum() == count - 50_000
    assert time.perf_counter() - start < 1.5  # 0.05 s on a free machine
