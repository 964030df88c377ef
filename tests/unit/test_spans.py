"""Spans: each token is in one span, texts are cut at word starts, and neighbors follow the order of the source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.beir import Beir
from encloze.data.records import Document
from encloze.text.spans import Spans
from encloze.text.tokens import TokenizedTexts

Text = tuple[list[int], str | None, int | None]  # lengths of its words, source, position

word_lengths = st.lists(st.integers(1, 9), max_size=14)
sources = st.sampled_from([None, "a", "b", "c"])
texts_of = st.lists(st.tuples(word_lengths, sources, st.none() | st.integers(-2, 3)), min_size=1, max_size=9)
limits = st.integers(3, 14)  # max_tokens
NO_DEADLINE = settings(deadline=None)


def tokens_of(texts: Sequence[Text]) -> TokenizedTexts:
    """Return tokens whose ids are their indices."""
    lengths = [sum(words) for words, _, _ in texts]
    starts = np.zeros(sum(lengths), bool)
    all_words = [word for words, _, _ in texts for word in words]
    starts[np.cumsum([0, *all_words])[:-1]] = True
    return TokenizedTexts(
        np.arange(sum(lengths), dtype=np.int32), starts, np.append(0, np.cumsum(lengths)).astype(np.int64)
    )


class ColumnsOfCorpus:
    """The columns of a corpus that spans use. It stands for a corpus, which would write a file for each example."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def column(self, name: str) -> pa.ChunkedArray:
        values = [text[("source", "position").index(name) + 1] for text in self.texts]
        return pa.chunked_array([pa.array(values, {"source": pa.string(), "position": pa.int64()}[name])])


def corpus_of(texts: Sequence[Text]) -> Corpus:
    return ColumnsOfCorpus(texts)  # type: ignore[return-value]


def spans_of(texts: Sequence[Text], max_tokens: int, min_tokens: int = 1) -> Spans:
    return Spans.from_tokens(tokens_of(texts), corpus_of(texts), max_tokens, min_tokens)


def reading_orders(spans: Spans, texts: Sequence[Text]) -> list[list[int]]:
    """Return the spans of each source in reading order, computed one by one."""
    by_source: dict[object, list[int]] = {}
    for number in range(len(spans)):
        text = int(spans.text_numbers[number])
        by_source.setdefault(texts[text][1] or text, []).append(number)

    def sort_key(number: int) -> tuple[bool, int, int]:
        position = texts[int(spans.text_numbers[number])][2]
        return position is None, position or 0, number

    return [sorted(numbers, key=sort_key) for numbers in by_source.values()]


# ----------------------------------------------------------------------------------------------------------- cutting


@NO_DEADLINE
@given(texts_of, limits)
def test_every_token_is_in_exactly_one_span_and_none_is_above_the_limit(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    held = [spans[number] for number in range(len(spans))]
    assert [int(id_) for span in held for id_ in span.ids] == list(range(sum(sum(words) for words, _, _ in texts)))
    assert [len(span.ids) for span in held] == spans.lengths.tolist()
    assert spans.lengths.max(initial=0) <= limit - 2
    for number, span in enumerate(held):
        begin, end = (int(spans.tokens.offsets[int(spans.text_numbers[number]) + side]) for side in (0, 1))
        assert begin <= span.ids[0] and span.ids[-1] < end
        assert span.ids.dtype == np.int32 and span.word_starts.dtype == np.bool_ and span.word_starts[0]


@NO_DEADLINE
@given(texts_of, limits)
def test_parts_start_at_word_starts_except_in_words_longer_than_a_part(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    lengths = np.array([word for words, _, _ in texts for word in words], np.int64)
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    for begin in spans.starts:
        assert spans.tokens.word_starts[begin] or lengths[word_of[begin]] > limit - 2


def min_parts(words: list[int], max_length: int) -> int:
    """Return the smallest number of parts of a text, by exhaustive search."""
    positions = {0, *np.cumsum(words).tolist()}
    for begin, word in zip(np.cumsum([0, *words])[:-1].tolist(), words, strict=True):
        positions |= set(range(begin, begin + word)) if word > max_length else set()
    needed = {0: 0}
    for position in sorted(positions)[1:]:
        needed[position] = 1 + min(parts for before, parts in needed.items() if position - before <= max_length)
    return needed[sum(words)]


@NO_DEADLINE
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), limits)
def test_number_of_parts_is_minimal(words: list[int], limit: int) -> None:
    assert len(spans_of([(words, None, None)], limit)) == min_parts(words, limit - 2)


@NO_DEADLINE
@given(st.integers(1, 200), limits)
def test_parts_differ_by_at_most_one_token_if_words_are_single_tokens(count: int, limit: int) -> None:
    lengths = spans_of([([1] * count, None, None)], limit).lengths
    assert len(lengths) == -(-count // (limit - 2)) and lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(
    ("words", "limit", "parts"),
    [
        ([3, 3, 3, 1], 9, [6, 4]),  # an even cut at 5 is inside a word; 6 is closer than 3
        ([4, 3, 3], 9, [4, 6]),  # the earlier word start is closer
        ([3, 2, 3], 6, [3, 2, 3]),  # two parts are possible, but not at word starts
        ([2, 2, 2, 4], 6, [4, 2, 4]),
        ([1, 9, 1], 6, [4, 4, 3]),  # the word is longer than a part
        ([4, 1, 1, 1, 1], 6, [4, 4]),
        ([1, 1, 1, 1, 4, 4], 8, [4, 4, 4]),
    ],
)
def test_examples_computed_by_hand(words: list[int], limit: int, parts: list[int]) -> None:
    assert spans_of([(words, None, None)], limit).lengths.tolist() == parts


@NO_DEADLINE
@given(texts_of)
def test_spans_are_whole_texts_if_no_text_is_long_or_dropped(texts: list[Text]) -> None:
    tokens = tokens_of(texts)
    spans = Spans.from_tokens(tokens, corpus_of(texts), 1000, min_tokens=0)
    assert len(spans) == len(texts) and spans.num_dropped == 0
    assert (spans.text_numbers == np.arange(len(texts))).all() and (spans.lengths == tokens.lengths).all()
    for number in range(len(texts)):
        assert (spans[number].ids == tokens[number].ids).all() and (
            spans[number].word_starts == tokens[number].word_starts
        ).all()


@NO_DEADLINE
@given(texts_of, limits, st.integers(1, 8))
def test_short_spans_are_dropped_and_counted(texts: list[Text], limit: int, min_tokens: int) -> None:
    everything, spans = spans_of(texts, limit, min_tokens=0), spans_of(texts, limit, min_tokens)
    kept = everything.lengths >= min_tokens
    assert (spans.starts == everything.starts[kept]).all() and (
        spans.text_numbers == everything.text_numbers[kept]
    ).all()
    assert spans.num_dropped == (~kept).sum()


def test_spans_of_less_than_four_tokens_are_dropped_by_default() -> None:
    texts: list[Text] = [([1] * length, "a", None) for length in (3, 4, 0, 5)]
    spans = Spans.from_tokens(tokens_of(texts), corpus_of(texts), 100)
    assert spans.text_numbers.tolist() == [1, 3] and spans.num_dropped == 2
    assert spans.next_span.tolist() == [1, -1]  # dropped spans do not separate neighbors


@NO_DEADLINE
@given(texts_of, limits, st.data())
def test_a_slice_starts_with_a_word(texts: list[Text], limit: int, data: st.DataObject) -> None:
    spans = spans_of(texts, limit)
    begin = data.draw(st.integers(0, len(spans.tokens.ids)))
    end = data.draw(st.integers(begin, len(spans.tokens.ids)))
    before = spans.tokens.word_starts.copy()
    piece = spans.slice(begin, end)
    assert piece.ids.tolist() == list(range(begin, end)) and piece.word_starts[:1].all()
    assert (piece.word_starts[1:] == before[begin + 1 : end]).all() and (spans.tokens.word_starts == before).all()


# -------------------------------------------------------------------------------------------------------- neighbors


@NO_DEADLINE
@given(texts_of, limits, st.integers(1, 4))
def test_neighbors_follow_the_order_of_positions_in_the_source(texts: list[Text], limit: int, min_tokens: int) -> None:
    spans = spans_of(texts, limit, min_tokens)
    before, after = np.full(len(spans), -1), np.full(len(spans), -1)
    for numbers in reading_orders(spans, texts):
        assert len(set(spans.source_numbers[numbers].tolist())) == 1
        for one, other in pairwise(numbers):
            after[one], before[other] = other, one
    assert spans.previous_span.tolist() == before.tolist() and spans.next_span.tolist() == after.tolist()
    assert len(set(spans.source_numbers.tolist())) == len(reading_orders(spans, texts))


@NO_DEADLINE
@given(texts_of, limits)
def test_neighbors_are_symmetric(texts: list[Text], limit: int) -> None:
    spans = spans_of(texts, limit)
    has = np.flatnonzero(spans.previous_span >= 0)
    assert (spans.next_span[spans.previous_span[has]] == has).all()
    assert (spans.source_numbers[spans.previous_span[has]] == spans.source_numbers[has]).all()
    assert (spans.next_span >= 0).sum() == len(has)


@NO_DEADLINE
@given(texts_of, limits, st.integers(1, 4))
def test_window_contains_the_spans_within_max_distance(texts: list[Text], limit: int, max_distance: int) -> None:
    spans = spans_of(texts, limit)
    for numbers in reading_orders(spans, texts):
        for at, number in enumerate(numbers):
            assert (
                spans.window(number, max_distance).tolist()
                == numbers[max(0, at - max_distance) : at + max_distance + 1]
            )


def test_texts_of_a_source_need_not_be_consecutive() -> None:
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
    assert spans.text_numbers.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7]
    assert spans.window(4, 9).tolist() == [4, 5, 8, 0, 3]  # positions 2 (its parts), 2, 5 and none
    assert spans.window(2, 9).tolist() == [2, 7]
    assert spans.window(1, 9).tolist() == [1] and spans.window(6, 9).tolist() == [6]
    assert spans.previous_span.tolist() == [8, -1, -1, 0, -1, 4, -1, 2, 5]


def test_parts_of_a_text_without_a_source_are_neighbors() -> None:
    spans = spans_of([([1] * 10, None, None), ([1] * 30, None, None)], 12)
    assert spans.next_span.tolist() == [-1, 2, 3, -1] and spans.source_numbers.tolist() == [0, 1, 1, 1]


def test_sources_are_numbered_across_the_batches_of_a_corpus_file(tmp_path: Path) -> None:
    count = 9000  # the file is written in batches of 4096
    corpus = Corpus.from_documents(
        [Document(f"{n}", "", "x", None if n % 10 == 0 else f"{n % 7}") for n in range(count)], tmp_path / "c"
    )
    spans = Spans.from_tokens(tokens_of([([1] * 5, None, None)] * count), corpus, 16)
    sources = [object() if n % 10 == 0 else n % 7 for n in range(count)]
    assert len(np.unique(spans.source_numbers)) == len(set(sources))
    for number in (1, 4095, 4096, 8191, 8192):
        expected = next((n for n in range(number + 1, count) if sources[n] == sources[number]), -1)
        assert spans.next_span[number] == expected


def test_short_texts_only_give_no_spans() -> None:
    spans = spans_of([([1], "a", 0), ([], "a", 1)], 12, min_tokens=4)
    assert len(spans) == 0 and spans.num_dropped == 2
    assert spans.previous_span.tolist() == spans.next_span.tolist() == spans.lengths.tolist() == []


def test_spans_of_a_data_set(dataset: Path) -> None:
    corpus, tokenizer = Corpus.from_format(Beir(dataset)), toys.tokenizer()
    tokens = TokenizedTexts.from_texts(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
    spans = Spans.from_tokens(tokens, corpus, 64)
    assert isinstance(tokens.ids, np.memmap) and spans.tokens is tokens
    assert len(spans) == 40 and spans.window(5, 100).tolist() == [4, 5, 6, 7]
    cut = Spans.from_tokens(tokens, corpus, 12)
    assert len(cut) > 80 and cut.lengths.max() == 10
    assert [id_ for n in range(len(cut)) for id_ in cut[n].ids.tolist()] == tokens.ids.tolist()


class RecordingListener(progress.Listener):
    """Records the tasks that are started."""

    def __init__(self) -> None:
        self.tasks: list[progress.Task] = []

    def on_start(self, task: progress.Task) -> None:
        self.tasks.append(task)


def test_progress_is_reported_only_if_texts_are_cut() -> None:
    with progress.use_listener(RecordingListener()) as listener:
        spans_of([([1] * 10, None, None)] * 3, 12)
        assert isinstance(listener, RecordingListener) and not listener.tasks
        spans_of([([1] * 10, None, None), ([1] * 11, None, None)], 12)
    assert [(task.title, task.total, task.completed) for task in listener.tasks] == [("Cutting long texts", 1, 1)]


def test_many_short_texts_are_fast() -> None:
    count = 200_000
    corpus = corpus_of([([], f"{n % 50_000}", n % 11) for n in range(count)])
    tokens = TokenizedTexts(np.zeros(10 * count, np.int32), np.ones(10 * count, bool), np.arange(0, 10 * count + 1, 10))
    start = time.perf_counter()
    spans = Spans.from_tokens(tokens, corpus, 64)
    assert (spans.next_span >= 0).sum() == count - 50_000
    assert time.perf_counter() - start < 1.5  # 0.05 s on an idle machine
