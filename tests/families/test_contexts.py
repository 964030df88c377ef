"""Contexts: reproducible pairs within their stated lengths, and messages about texts without a context."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.jsonl import Jsonl
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.text.contexts.base import Context, ContextInputs, ContextPairs
from encloze.text.contexts.crops import Crops
from encloze.text.contexts.mixed import Mixed
from encloze.text.contexts.near import Near
from encloze.text.contexts.overlapping import Overlapping
from encloze.text.contexts.queries import Queries
from encloze.text.contexts.random import Random
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import TokenizedTexts

EACH_CONTEXT = pytest.mark.parametrize("name", Context.members())
NEIGHBOR_CONTEXTS = ("near", "overlapping", "random", "mixed")
EACH_NEIGHBOR_CONTEXT = pytest.mark.parametrize("name", NEIGHBOR_CONTEXTS)

Text = tuple[list[int], str | None]  # lengths of its words, source

texts_of = st.lists(
    st.tuples(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.sampled_from([None, "a", "b"])),
    min_size=1,
    max_size=8,
).filter(lambda texts: sum(sum(words) for words, _ in texts) > 20)
limits, seeds = st.integers(8, 24), st.integers(0, 2**32)
FEW_EXAMPLES = settings(deadline=None, max_examples=60)  # each example writes a corpus


class RecordingListener(progress.Listener):
    """Records the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return toys.tokenizer()


def inputs_of(format_: Format, tokenizer: Tokenizer, max_tokens: int = 64) -> ContextInputs:
    corpus = Corpus.from_format(format_, pretraining=True)
    tokens = TokenizedTexts.from_texts(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
    return ContextInputs(Spans.from_tokens(tokens, corpus, max_tokens), corpus, format_, tokenizer, max_tokens)


def synthetic_inputs(texts: Sequence[Text], max_tokens: int) -> ContextInputs:
    """Return inputs with texts whose token ids are their indices."""
    lengths = [sum(words) for words, _ in texts]
    starts = np.zeros(sum(lengths), bool)
    starts[np.cumsum([0, *(word for words, _ in texts for word in words)])[:-1]] = True
    tokens = TokenizedTexts(
        np.arange(sum(lengths), dtype=np.int32), starts, np.append(0, np.cumsum(lengths)).astype(np.int64)
    )
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document(f"{n}", "", "text", source) for n, (_, source) in enumerate(texts)]
        corpus = Corpus.from_documents(documents, Path(folder) / "corpus.arrow")
    spans = Spans.from_tokens(tokens, corpus, max_tokens)
    return ContextInputs(spans, corpus, Jsonl(Path("invented.jsonl")), None, max_tokens)  # type: ignore[arg-type]


def pairs_of(context: Context, inputs: ContextInputs) -> ContextPairs | None:
    """Return the pairs, or None after checking that no text has a context."""
    try:
        return context.pairs(inputs)
    except DataError:
        spans = inputs.spans
        assert (spans.lengths < 8).all() if context.name == "crops" else (spans.previous_span < 0).all()
        return None


def written(folder: Path, lines: list[dict[str, object]]) -> Path:
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def same(one: Encoded, other: Encoded) -> bool:
    return one.ids.tolist() == other.ids.tolist() and one.word_starts.tolist() == other.word_starts.tolist()


# ------------------------------------------------------------------------------------------------------ every context


@EACH_CONTEXT
@pytest.mark.parametrize("max_tokens", [64, 14])
def test_pairs_are_texts_of_the_corpus_within_their_lengths(
    name: str, max_tokens: int, dataset: Path, tokenizer: Tokenizer
) -> None:
    inputs = inputs_of(Beir(dataset), tokenizer, max_tokens)
    pairs, rng = Context.member(name)().pairs(inputs), np.random.default_rng(0)
    assert (
        pairs.span_numbers.dtype == pairs.lengths.dtype == np.int64 and pairs.span_numbers.shape == pairs.lengths.shape
    )
    assert (
        (np.diff(pairs.span_numbers) > 0).all()
        and pairs.span_numbers[0] >= 0
        and pairs.span_numbers[-1] < len(inputs.spans)
    )
    assert pairs.lengths.max() <= max_tokens - 2
    longest = 0
    for number, length in zip(pairs.span_numbers.tolist(), pairs.lengths.tolist(), strict=True):
        for _ in range(5):
            text, context = pairs(number, rng)
            assert min(len(text.ids), len(context.ids)) > 0 and max(len(text.ids), len(context.ids)) <= length
            for one in (text, context):
                assert one.ids.dtype == np.int32 and one.word_starts.dtype == np.bool_ and one.word_starts[0]
                assert len(one.ids) == len(one.word_starts)
            if name != "crops":
                assert same(text, inputs.spans[number])
            longest = max(longest, len(text.ids), len(context.ids))
    assert longest == pairs.lengths.max() or name == "crops"  # the bound is tight


@EACH_CONTEXT
def test_the_same_random_state_gives_the_same_pair(name: str, dataset: Path, tokenizer: Tokenizer) -> None:
    inputs = inputs_of(Beir(dataset), tokenizer, 20)
    first, second = (Context.member(name)().pairs(inputs) for _ in range(2))
    np.random.seed(0)  # the global state must not matter
    drawn = set()
    for number in first.span_numbers.tolist():
        for seed in range(3):
            one, other = first(number, np.random.default_rng(seed)), second(number, np.random.default_rng(seed))
            assert same(one[0], other[0]) and same(one[1], other[1])
            drawn.add((number, tuple(one[0].ids.tolist()), tuple(one[1].ids.tolist())))
    if name != "queries":  # each text of the toy data set has one query
        assert len(drawn) > 1.2 * len(first.span_numbers)


@EACH_CONTEXT
def test_error_if_no_text_has_a_context(name: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = written(tmp_path, [{"_id": f"{n}", "text": "a river in a harbour"} for n in range(3)])
    inputs = inputs_of(Jsonl(file), tokenizer)
    expected = {
        "crops": f"{file}: all texts are too short for two crops (8 tokens). Use longer texts, or raise --max_tokens "
        "if texts are cut too short",
        "queries": f"{file} contains no queries (jsonl format). The context 'queries' needs queries with judgments of "
        "the documents of the corpus. Set its path to a data set with queries and judgments, set its split to another "
        "split of this data set (none), or use a context without queries (near, crops)",
    }
    with pytest.raises(DataError) as caught:
        Context.member(name)().pairs(inputs)
    assert str(caught.value) == expected.get(
        name,
        f"{file}: all texts have no neighbor. Contextual pre-training needs documents with doc_id and position (BEIR "
        "layout), or texts longer than max_tokens (64). Use such a corpus, lower --max_tokens, use the context crops, "
        "or use an objective without contexts (retromae, dupmae, lexmae, bow)",
    )


@EACH_CONTEXT
def test_texts_without_a_context_are_skipped_and_counted(name: str, dataset: Path, tokenizer: Tokenizer) -> None:
    lone = [{"_id": f"lone-{n}", "text": "a river in a harbour"} for n in range(3)]
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lone)
    inputs = inputs_of(Beir(dataset), tokenizer)
    with progress.use_listener(RecordingListener()) as listener:
        pairs = Context.member(name)().pairs(inputs)
    assert isinstance(listener, RecordingListener)
    reasons = {"crops": "are too short for two crops (8 tokens)", "queries": "have no query in the split 'train'"}
    skipped = 23 if name == "queries" else 3
    assert listener.notes[0] == f"{skipped} of 43 texts {reasons.get(name, 'have no neighbor')} and are skipped"
    assert listener.notes[1:] == ["20 distinct queries are used as contexts for 20 texts"] * (name == "queries")
    assert pairs.span_numbers.tolist() == list(range(43 - skipped))


def test_notes_count_texts_instead_of_spans() -> None:
    with progress.use_listener(RecordingListener()) as listener:
        Crops().pairs(
            synthetic_inputs([([1] * 14, None), ([1] * 8, None)], 10)
        )  # two spans of seven tokens, and one of eight
    assert isinstance(listener, RecordingListener)
    assert listener.notes == ["1 of 2 texts are too short for two crops (8 tokens) and are skipped"]


@EACH_CONTEXT
def test_no_note_if_all_texts_have_a_context(name: str, dataset: Path, tokenizer: Tokenizer) -> None:
    if name == "queries":
        for split in ("dev", "test"):
            with (dataset / "qrels" / "train.tsv").open("a") as stream:
                stream.writelines((dataset / "qrels" / f"{split}.tsv").read_text().splitlines(keepends=True)[1:])
    with progress.use_listener(RecordingListener()) as listener:
        assert len(Context.member(name)().pairs(inputs_of(Beir(dataset), tokenizer)).span_numbers) == 40
    assert isinstance(listener, RecordingListener)
    assert listener.notes == ["40 distinct queries are used as contexts for 40 texts"] * (name == "queries")


# --------------------------------------------------------------------------------------------------------- neighbors


@EACH_NEIGHBOR_CONTEXT
@FEW_EXAMPLES
@given(texts=texts_of, limit=limits, seed=seeds)
def test_neighbors_belong_to_the_same_source_and_have_the_stated_lengths(
    name: str, texts: list[Text], limit: int, seed: int
) -> None:
    inputs = synthetic_inputs(texts, limit)
    if (pairs := pairs_of(Context.member(name)(), inputs)) is None:
        return
    spans, rng = inputs.spans, np.random.default_rng(seed)
    assert set(pairs.span_numbers) == set(np.flatnonzero((spans.previous_span >= 0) | (spans.next_span >= 0)))
    group_of = {id_: spans.source_numbers[number] for number in range(len(spans)) for id_ in spans[number].ids.tolist()}
    for number, length in zip(pairs.span_numbers.tolist(), pairs.lengths.tolist(), strict=True):
        text, context = pairs(number, rng)
        assert same(text, spans[number])
        assert {group_of[id_] for id_ in context.ids.tolist()} == {spans.source_numbers[number]}
        assert len(context.ids) > 0 and max(len(text.ids), len(context.ids)) <= length <= limit - 2
        assert not same(text, context)


@FEW_EXAMPLES
@given(texts=texts_of, limit=limits, seed=seeds)
def test_near_is_the_previous_or_next_span(texts: list[Text], limit: int, seed: int) -> None:
    inputs, rng = synthetic_inputs(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Near(), inputs)) is None:
        return
    spans = inputs.spans
    for number in pairs.span_numbers.tolist():
        sides = [int(side) for side in (spans.previous_span[number], spans.next_span[number]) if side >= 0]
        context = pairs(number, rng)[1]
        assert any(same(context, spans[side]) for side in sides)
    lengths = np.append(spans.lengths, 0)
    exact = np.maximum.reduce([spans.lengths, lengths[spans.previous_span], lengths[spans.next_span]])
    assert pairs.lengths.tolist() == exact[pairs.span_numbers].tolist()


@FEW_EXAMPLES
@given(texts=texts_of, limit=limits, max_distance=st.integers(1, 4), seed=seeds)
def test_random_is_another_span_within_max_distance(
    texts: list[Text], limit: int, max_distance: int, seed: int
) -> None:
    inputs, rng = synthetic_inputs(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Random(max_distance), inputs)) is None:
        return
    spans = inputs.spans
    for number in pairs.span_numbers.tolist():
        others = {number}
        for _ in range(max_distance):  # one step to each side
            others |= {
                int(side) for other in others for side in (spans.previous_span[other], spans.next_span[other])
            } - {-1}
        context = pairs(number, rng)[1]
        assert any(same(context, spans[other]) for other in others - {number})


@FEW_EXAMPLES
@given(texts=texts_of, limit=limits, seed=seeds)
def test_overlapping_is_the_end_of_the_text_and_the_beginning_of_the_next(
    texts: list[Text], limit: int, seed: int
) -> None:
    inputs, rng = synthetic_inputs(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Overlapping(), inputs)) is None:
        return
    spans = inputs.spans
    for number in pairs.span_numbers.tolist():
        text, context = pairs(number, rng)
        is_last = spans.next_span[number] < 0
        other = spans[int(spans.previous_span[number] if is_last else spans.next_span[number])]
        ids, starts = context.ids.tolist(), dict(zip(text.ids.tolist(), text.word_starts.tolist(), strict=True))
        shared = [id_ for id_ in ids if id_ in starts]
        rest = [id_ for id_ in ids if id_ not in starts]
        assert shared and rest and len(shared) < len(starts)
        most, longest_word = max(len(text.ids), len(other.ids)), 12
        assert len(ids) <= most
        words = int(text.word_starts.sum())
        cut = len(shared) if is_last else len(starts) - len(shared)  # where the text is cut
        assert text.word_starts[cut] or words == 1
        if not is_last:
            assert ids == [*text.ids.tolist()[-len(shared) :], *other.ids.tolist()[: len(rest)]]
            assert len(ids) == min(most, len(shared) + len(other.ids))
        else:
            assert ids == [*other.ids.tolist()[-len(rest) :], *text.ids.tolist()[: len(shared)]]
            assert other.word_starts[len(other.ids) - len(rest)] or not other.word_starts[-(most - len(shared)) :].any()
        assert context.word_starts[0] and context.word_starts[len(rest) if is_last else len(shared)]
        assert 0.25 * len(starts) - longest_word <= len(shared) <= 0.5 * len(starts) + longest_word


def test_an_overlap_has_a_quarter_to_a_half_of_the_tokens() -> None:
    inputs = synthetic_inputs([([1] * 100, "a"), ([1] * 60, "a")], 200)
    pairs, rng = Overlapping().pairs(inputs), np.random.default_rng(0)
    contexts = [pairs(0, rng)[1].ids for _ in range(500)]
    shares = np.array([(ids < 100).sum() for ids in contexts])
    assert (shares.min(), shares.max()) == (25, 50) and 36 < shares.mean() < 39
    assert all(len(ids) == min(100, share + 60) for ids, share in zip(contexts, shares, strict=True))
    mirrored = [pairs(1, rng)[1].ids for _ in range(500)]
    shares = np.array([(ids >= 100).sum() for ids in mirrored])
    assert (shares.min(), shares.max()) == (15, 30)
    assert all(len(ids) == 100 and ids[-share - 1] == 99 for ids, share in zip(mirrored, shares, strict=True))


@pytest.mark.parametrize(
    ("first", "second", "from_first", "from_second"),
    [
        # The first text is 8 tokens; between 2 and 4 of them are taken, from a word start.
        ([5, 3], [2, 2, 2, 2], {(5, 8)}, {(0, 5)}),
        ([3, 3, 2], [2, 2, 2, 2], {(6, 8)}, {(0, 6)}),
        ([7, 1], [2, 2, 2, 2], {(7, 8)}, {(0, 7)}),
        ([1, 7], [2, 2, 2, 2], {(1, 8)}, {(0, 1)}),  # at least one word, although it is more than half
        ([8], [2, 2, 2, 2], {(4, 8), (5, 8), (6, 8)}, {(0, 4), (0, 5), (0, 6)}),  # a single word is cut
    ],
)
def test_overlaps_computed_by_hand(
    first: list[int],
    second: list[int],
    from_first: set[tuple[int, int]],
    from_second: set[tuple[int, int]],
) -> None:
    pairs, rng = Overlapping().pairs(synthetic_inputs([(first, "a"), (second, "a")], 12)), np.random.default_rng(0)
    seen: tuple[set[tuple[int, int]], set[tuple[int, int]]] = set(), set()
    for _ in range(200):
        ids = pairs(0, rng)[1].ids
        for part, found, base in ((ids[ids < 8], seen[0], 0), (ids[ids >= 8], seen[1], 8)):
            found.add((int(part[0]) - base, int(part[-1]) - base + 1))
    assert seen == (from_first, from_second)


@pytest.mark.parametrize(
    ("words", "contexts"),
    [
        # The first text has 8 tokens, with words at 3 and 6. Of the second, 2 to 4 tokens are taken, up to a word.
        ([3, 1, 4], {(3, 11), (6, 12)}),  # with four of the second, 4 tokens of the first fit, but no word starts there
        ([2, 1, 2, 3], {(3, 10), (3, 11)}),
        ([7, 1], {(7, 15)}),  # at least one word; no word starts in the remaining tokens
        ([8], {(3, 10), (3, 11), (6, 12)}),  # a single word is cut
    ],
)
def test_mirrored_overlaps_computed_by_hand(words: list[int], contexts: set[tuple[int, int]]) -> None:
    pairs, rng = Overlapping().pairs(synthetic_inputs([([3, 3, 2], "a"), (words, "a")], 12)), np.random.default_rng(0)
    drawn = [pairs(1, rng)[1].ids.tolist() for _ in range(200)]
    assert {(ids[0], ids[-1] + 1) for ids in drawn} == contexts
    assert all(ids == list(range(ids[0], ids[-1] + 1)) for ids in drawn)


def test_contexts_are_sampled_uniformly() -> None:
    inputs = synthetic_inputs([([1] * 10, "a")] * 12, 20)
    rng, count = np.random.default_rng(0), 6000

    def sample_counts(context: Context, number: int) -> Counter[int]:
        pairs = context.pairs(inputs)
        return Counter(int(pairs(number, rng)[1].ids[0]) for _ in range(count))

    near = sample_counts(Near(), 5)
    assert set(near) == {40, 60} and abs(near[40] / count - 0.5) < 0.03
    assert sample_counts(Near(), 0) == {10: count} and sample_counts(Near(), 11) == {100: count}
    for number, others in ((5, {3, 4, 6, 7}), (0, {1, 2}), (11, {9, 10}), (1, {0, 2, 3})):
        found = sample_counts(Random(2), number)
        assert set(found) == {10 * other for other in others}
        assert all(abs(times / count - 1 / len(others)) < 0.03 for times in found.values())
    assert set(sample_counts(Random(), 5)) == {10 * other for other in range(12)} - {50}
    mixed = sample_counts(Mixed(), 5)
    overlapping = sum(times for at, times in mixed.items() if at % 10)
    assert abs(overlapping / count - 1 / 3) < 0.03
    assert abs((mixed[40] + mixed[60]) / count - (1 / 3 + 2 / 33)) < 0.03
    assert set(sample_counts(Mixed(max_distance=2), 5)) - {at for at in mixed if at % 10} == {30, 40, 60, 70}


@pytest.mark.parametrize("kind", [Random, Mixed])
def test_max_distance_below_1_is_rejected(kind: type[Random | Mixed]) -> None:
    with pytest.raises(ValueError, match="max_distance must be 1 or more, not 0"):
        kind(max_distance=0)


# -------------------------------------------------------------------------------------------------------------- crops


@FEW_EXAMPLES
@given(texts=texts_of, limit=limits, seed=seeds, shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_crops_lie_within_their_span(texts: list[Text], limit: int, seed: int, shares: tuple[float, float]) -> None:
    least, most = sorted(shares)
    inputs, rng = synthetic_inputs(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Crops(least, most), inputs)) is None:
        return
    spans = inputs.spans
    assert pairs.span_numbers.tolist() == np.flatnonzero(spans.lengths >= 8).tolist()
    for number, length in zip(pairs.span_numbers.tolist(), pairs.lengths.tolist(), strict=True):
        span = spans[number]
        for crop in pairs(number, rng):
            at = int(crop.ids[0] - span.ids[0])
            assert crop.ids.tolist() == span.ids[at : at + len(crop.ids)].tolist()
            assert at >= 0 and span.word_starts[at] and crop.word_starts[0]
            assert max(4, int(least * len(span.ids))) <= len(crop.ids) <= length <= max(4, most * len(span.ids) + 1)


def test_crop_lengths_and_positions_are_sampled_uniformly() -> None:
    inputs = synthetic_inputs([([1] * 100, None)], 200)
    pairs, rng = Crops().pairs(inputs), np.random.default_rng(0)
    assert pairs.lengths.tolist() == [50]
    both = [pairs(0, rng) for _ in range(3000)]
    for side in (0, 1):
        lengths = np.array([len(pair[side].ids) for pair in both])
        assert (lengths.min(), lengths.max()) == (10, 50) and abs(lengths.mean() - 30) < 1
        ends = np.array([(int(pair[side].ids[0]), int(pair[side].ids[-1])) for pair in both])
        assert ends[:, 0].min() == 0 and ends[:, 1].max() == 99 and abs(ends.mean() - 49.5) < 1.5
    assert sum(same(*pair) for pair in both) < 30


@pytest.mark.parametrize(("least", "most"), [(0, 0.5), (0.6, 0.5), (0.1, 1.1), (-0.1, 0.5)])
def test_ratios_out_of_range_are_rejected(least: float, most: float) -> None:
    message = f"min_ratio and max_ratio must satisfy 0 < min_ratio <= max_ratio <= 1, but they are {least} and {most}"
    with pytest.raises(ValueError, match=re.escape(message)):
        Crops(least, most)


# ------------------------------------------------------------------------------------------------------------ queries


def judge(dataset: Path, lines: Sequence[tuple[str, str, int]], split: str = "train") -> None:
    rows = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in lines)
    (dataset / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def test_queries_of_a_text_are_its_relevant_ones_and_sampled_uniformly(dataset: Path, tokenizer: Tokenizer) -> None:
    river, engine = "river-history", "engine-repair"
    judge(
        dataset,
        [
            *[("q-river-history", river, 1), ("q-comet-repair", river, 2), ("q-violin-repair", river, 0)],
            *[("q-violin-repair", engine, 1), ("q-comet-repair", engine, -1)],
        ],
    )
    inputs = inputs_of(Beir(dataset), tokenizer)
    with progress.use_listener(RecordingListener()) as listener:
        pairs = Queries().pairs(inputs)
    assert isinstance(listener, RecordingListener)
    assert listener.notes == [
        "38 of 40 texts have no query in the split 'train' and are skipped",
        "3 distinct queries are used as contexts for 2 texts",
    ]
    at, rng = inputs.corpus.number_of, np.random.default_rng(0)
    assert pairs.span_numbers.tolist() == [at[river], at[engine]]

    def sampled_queries(document: str) -> Counter[str]:
        found = (pairs(at[document], rng)[1].ids.tolist() for _ in range(2000))
        return Counter(tokenizer.backend.decode(ids) for ids in found)

    of_river = sampled_queries(river)
    assert set(of_river) == {"tell me about the river history", "tell me about the comet repair"}
    assert all(abs(times - 1000) < 120 for times in of_river.values())
    assert sampled_queries(engine) == {"tell me about the violin repair": 2000}


def test_long_queries_are_truncated_and_empty_ones_are_skipped(dataset: Path, tokenizer: Tokenizer) -> None:
    texts = {"q-river-history": "engine " * 100, "q-river-repair": " "}
    lines = [json.dumps({"_id": id_, "text": text}) for id_, text in texts.items()]
    (dataset / "queries.jsonl").write_text("\n".join(lines) + "\n")
    judge(dataset, [(id_, "river-history", 1) for id_ in texts] + [("q-river-repair", "river-repair", 1)])
    inputs = inputs_of(Beir(dataset), tokenizer, 40)
    pairs, rng = Queries().pairs(inputs), np.random.default_rng(0)
    assert pairs.span_numbers.tolist() == [0] and pairs.lengths.tolist() == [38]
    assert {len(pairs(0, rng)[1].ids) for _ in range(50)} == {38}
    judge(dataset, [("q-river-repair", "river-repair", 1)])
    with pytest.raises(
        DataError, match=re.escape(f"{dataset}: all texts have no query in the split 'train'. Set the split")
    ):
        Queries().pairs(inputs)


def test_all_spans_of_a_text_have_its_queries(dataset: Path, tokenizer: Tokenizer) -> None:
    inputs = inputs_of(Beir(dataset), tokenizer, 14)
    pairs = Queries(split="dev").pairs(inputs)
    judged = {inputs.corpus.number_of[str(d["_id"])] for d in toys.documents()[20:30]}
    assert inputs.spans.text_numbers[pairs.span_numbers].tolist() == [
        t for t in inputs.spans.text_numbers.tolist() if t in judged
    ]
    assert len(pairs.span_numbers) == 20  # two spans of each of ten texts


def test_queries_may_come_from_another_data_set(dataset: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    bare = Jsonl(written(tmp_path, toys.documents()))
    pairs = Queries(path=dataset, split="test").pairs(inputs_of(bare, tokenizer))
    assert pairs.span_numbers.tolist() == list(range(30, 40))
    text = tokenizer.backend.decode(pairs(30, np.random.default_rng(0))[1].ids.tolist())
    assert text == f"tell me about the {toys.documents()[30]['title']}"


def test_queries_are_tokenized_once(dataset: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(Beir(dataset), tokenizer)
    calls: list[int] = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda texts: calls.append(len(texts)) or encode(texts))
    for _ in range(2):
        pairs, rng = Queries().pairs(inputs), np.random.default_rng(0)
        for number in pairs.span_numbers.tolist():
            pairs(number, rng)
    assert calls == [20]


def test_judged_documents_that_are_not_in_the_corpus_are_an_error(
    dataset: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    file = written(tmp_path, [d for d in toys.documents() if d["_id"] not in ("river-repair", "comet-history")])
    message = (
        f"{dataset}: 2 of 20 documents judged relevant in the split 'train' are not in the corpus {file}, for "
        "example comet-history, river-repair (an id in the corpus: river-history). Use the corpus that the judgments "
        "refer to, or remove the judgments of the missing documents"
    )
    with pytest.raises(DataError) as caught:
        Queries(path=dataset).pairs(inputs_of(Jsonl(file), tokenizer))
    assert str(caught.value) == message
    judge(dataset, [("q-river-history", "river-history", 1), ("q-river-repair", "nowhere", 0)])
    assert Queries(path=dataset).pairs(inputs_of(Jsonl(file), tokenizer)).span_numbers.tolist() == [0]


def test_missing_split_or_queries_are_an_error(dataset: Path, tokenizer: Tokenizer) -> None:
    inputs = inputs_of(Beir(dataset), tokenizer)
    remedy = (
        "Set its path to a data set with queries and judgments, set its split to another split of this data set "
        "(dev, test, train)"
    )
    for context, message in (
        (Queries("none"), f"{dataset} has no judgments for the split 'none'"),
        (Queries(), f"{dataset} has no queries.jsonl"),
    ):
        with pytest.raises(DataError, match=f"^{re.escape(message)}.*{re.escape(remedy)}"):
            context.pairs(inputs)
        (dataset / "queries.jsonl").unlink(missing_ok=True)
    with pytest.raises(DataError, match="nowhere/set: there is no such file or folder"):
        Queries(path=Path("nowhere/set")).pairs(inputs)
