"""Every context: pairs that are drawn again alike, no longer than they say, and nothing in silence."""

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
from encloze.text.contexts.base import Context, Material, Pairs
from encloze.text.contexts.crops import Crops
from encloze.text.contexts.mixed import Mixed
from encloze.text.contexts.near import Near
from encloze.text.contexts.overlapping import Overlapping
from encloze.text.contexts.queries import Queries
from encloze.text.contexts.random import Random
from encloze.text.spans import Spans
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import Tokens

EVERY = pytest.mark.parametrize("name", Context.members())
NEIGHBOURLY = ("near", "overlapping", "random", "mixed")
OF_NEIGHBOURS = pytest.mark.parametrize("name", NEIGHBOURLY)

Text = tuple[list[int], str | None]  # lengths of its words, source

texts_of = st.lists(
    st.tuples(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.sampled_from([None, "a", "b"])),
    min_size=1,
    max_size=8,
).filter(lambda texts: sum(sum(words) for words, _ in texts) > 20)
limits, seeds = st.integers(8, 24), st.integers(0, 2**32)
UNHURRIED = settings(deadline=None, max_examples=60)  # each example writes a corpus


class Heard(progress.Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return toys.tokenizer()


def material_of(format_: Format, tokenizer: Tokenizer, max_tokens: int = 64) -> Material:
    corpus = Corpus.open(format_, pretraining=True)
    tokens = Tokens.of(corpus.texts(), len(corpus), tokenizer, corpus.fingerprint)
    return Material(Spans.of(tokens, corpus, max_tokens), corpus, format_, tokenizer, max_tokens)


def invented(texts: Sequence[Text], max_tokens: int) -> Material:
    """Texts whose tokens have their places in the store as their ids."""
    lengths = [sum(words) for words, _ in texts]
    starts = np.zeros(sum(lengths), bool)
    starts[np.cumsum([0, *(word for words, _ in texts for word in words)])[:-1]] = True
    tokens = Tokens(np.arange(sum(lengths), dtype=np.int32), starts, np.append(0, np.cumsum(lengths)).astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        documents = [Document(f"{n}", "", "text", source) for n, (_, source) in enumerate(texts)]
        corpus = Corpus.of(documents, Path(folder) / "corpus.arrow")
    spans = Spans.of(tokens, corpus, max_tokens)
    return Material(spans, corpus, Jsonl(Path("invented.jsonl")), None, max_tokens)  # type: ignore[arg-type]


def pairs_of(context: Context, material: Material) -> Pairs | None:
    """None where no text has a context, after a look that it is so."""
    try:
        return context.pairs(material)
    except DataError:
        spans = material.spans
        assert (spans.lengths < 8).all() if context.name == "crops" else (spans.before < 0).all()
        return None


def written(folder: Path, lines: list[dict[str, object]]) -> Path:
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def same(one: Encoded, other: Encoded) -> bool:
    return one.ids.tolist() == other.ids.tolist() and one.starts.tolist() == other.starts.tolist()


# ------------------------------------------------------------------------------------------------------ every context


@EVERY
@pytest.mark.parametrize("max_tokens", [64, 14])
def test_pairs_are_texts_of_the_corpus_within_their_lengths(
    name: str, max_tokens: int, dataset: Path, tokenizer: Tokenizer
) -> None:
    material = material_of(Beir(dataset), tokenizer, max_tokens)
    pairs, draw = Context.member(name)().pairs(material), np.random.default_rng(0)
    assert pairs.usable.dtype == pairs.lengths.dtype == np.int64 and pairs.usable.shape == pairs.lengths.shape
    assert (np.diff(pairs.usable) > 0).all() and pairs.usable[0] >= 0 and pairs.usable[-1] < len(material.spans)
    assert pairs.lengths.max() <= max_tokens - 2
    longest = 0
    for number, length in zip(pairs.usable.tolist(), pairs.lengths.tolist(), strict=True):
        for _ in range(5):
            text, context = pairs(number, draw)
            assert min(len(text.ids), len(context.ids)) > 0 and max(len(text.ids), len(context.ids)) <= length
            for one in (text, context):
                assert one.ids.dtype == np.int32 and one.starts.dtype == np.bool_ and one.starts[0]
                assert len(one.ids) == len(one.starts)
            if name != "crops":
                assert same(text, material.spans[number])
            longest = max(longest, len(text.ids), len(context.ids))
    assert longest == pairs.lengths.max() or name == "crops"  # the bound is reached: it is no wild guess


@EVERY
def test_the_same_draw_gives_the_same_pair_and_another_draw_another(
    name: str, dataset: Path, tokenizer: Tokenizer
) -> None:
    material = material_of(Beir(dataset), tokenizer, 20)
    first, second = (Context.member(name)().pairs(material) for _ in range(2))
    np.random.seed(0)  # nothing comes from here
    drawn = set()
    for number in first.usable.tolist():
        for seed in range(3):
            one, other = first(number, np.random.default_rng(seed)), second(number, np.random.default_rng(seed))
            assert same(one[0], other[0]) and same(one[1], other[1])
            drawn.add((number, tuple(one[0].ids.tolist()), tuple(one[1].ids.tolist())))
    if name != "queries":  # a text of the toys has one query
        assert len(drawn) > 1.2 * len(first.usable)


@EVERY
def test_where_no_text_has_a_context_the_error_says_so_where_and_what_to_do(
    name: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    file = written(tmp_path, [{"_id": f"{n}", "text": "a river in a harbour"} for n in range(3)])
    material = material_of(Jsonl(file), tokenizer)
    expected = {
        "crops": f"{file}: no text has room for two crops (8 tokens). Give longer texts, or raise --max_tokens if that "
        "is what cuts them short",
        "queries": f"{file} holds no queries (jsonl format). The context 'queries' needs queries, and judgments of "
        "the corpus's documents: set its path to a data set that has both, or its split to another one (here: none), "
        "or take a context that needs none (near, crops)",
    }
    with pytest.raises(DataError) as caught:
        Context.member(name)().pairs(material)
    assert str(caught.value) == expected.get(
        name,
        f"{file}: no text has a neighbour. Contextual pre-training needs documents with doc_id and position (BEIR "
        "layout), or texts longer than max_tokens (64): give such a corpus, lower --max_tokens, take a context that "
        "needs no neighbours (crops), or an objective that needs none (retromae, dupmae, lexmae, bow)",
    )


@EVERY
def test_texts_without_a_context_are_counted_and_left_out(name: str, dataset: Path, tokenizer: Tokenizer) -> None:
    lone = [{"_id": f"lone-{n}", "text": "a river in a harbour"} for n in range(3)]
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lone)
    material = material_of(Beir(dataset), tokenizer)
    with progress.listening(Heard()) as heard:
        pairs = Context.member(name)().pairs(material)
    assert isinstance(heard, Heard)
    what = {"crops": "room for two crops (8 tokens)", "queries": "query of the split 'train'"}.get(name, "neighbour")
    left = 23 if name == "queries" else 3
    assert heard.notes[0] == f"{left} of 43 texts have no {what} and are left out"
    assert heard.notes[1:] == ["20 queries ask for 20 texts"] * (name == "queries")
    assert pairs.usable.tolist() == list(range(43 - left))


def test_texts_are_counted_and_not_their_parts() -> None:
    with progress.listening(Heard()) as heard:
        Crops().pairs(invented([([1] * 14, None), ([1] * 8, None)], 10))  # two parts of seven tokens, and a text
    assert isinstance(heard, Heard)
    assert heard.notes == ["1 of 2 texts have no room for two crops (8 tokens) and are left out"]


@EVERY
def test_nothing_is_said_where_all_texts_have_a_context(name: str, dataset: Path, tokenizer: Tokenizer) -> None:
    if name == "queries":
        for split in ("dev", "test"):
            with (dataset / "qrels" / "train.tsv").open("a") as stream:
                stream.writelines((dataset / "qrels" / f"{split}.tsv").read_text().splitlines(keepends=True)[1:])
    with progress.listening(Heard()) as heard:
        assert len(Context.member(name)().pairs(material_of(Beir(dataset), tokenizer)).usable) == 40
    assert isinstance(heard, Heard)
    assert heard.notes == ["40 queries ask for 40 texts"] * (name == "queries")


# --------------------------------------------------------------------------------------------------------- neighbours


@OF_NEIGHBOURS
@UNHURRIED
@given(texts=texts_of, limit=limits, seed=seeds)
def test_neighbours_are_of_one_source_and_within_their_lengths(
    name: str, texts: list[Text], limit: int, seed: int
) -> None:
    material = invented(texts, limit)
    if (pairs := pairs_of(Context.member(name)(), material)) is None:
        return
    spans, draw = material.spans, np.random.default_rng(seed)
    assert set(pairs.usable) == set(np.flatnonzero((spans.before >= 0) | (spans.after >= 0)))
    group_of = {id_: spans.group[number] for number in range(len(spans)) for id_ in spans[number].ids.tolist()}
    for number, length in zip(pairs.usable.tolist(), pairs.lengths.tolist(), strict=True):
        text, context = pairs(number, draw)
        assert same(text, spans[number])
        assert {group_of[id_] for id_ in context.ids.tolist()} == {spans.group[number]}
        assert len(context.ids) > 0 and max(len(text.ids), len(context.ids)) <= length <= limit - 2
        assert not same(text, context)


@UNHURRIED
@given(texts=texts_of, limit=limits, seed=seeds)
def test_near_is_the_span_before_or_after(texts: list[Text], limit: int, seed: int) -> None:
    material, draw = invented(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Near(), material)) is None:
        return
    spans = material.spans
    for number in pairs.usable.tolist():
        sides = [int(side) for side in (spans.before[number], spans.after[number]) if side >= 0]
        context = pairs(number, draw)[1]
        assert any(same(context, spans[side]) for side in sides)
    lengths = np.append(spans.lengths, 0)
    exact = np.maximum.reduce([spans.lengths, lengths[spans.before], lengths[spans.after]])
    assert pairs.lengths.tolist() == exact[pairs.usable].tolist()


@UNHURRIED
@given(texts=texts_of, limit=limits, reach=st.integers(1, 4), seed=seeds)
def test_random_is_another_span_within_reach(texts: list[Text], limit: int, reach: int, seed: int) -> None:
    material, draw = invented(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Random(reach), material)) is None:
        return
    spans = material.spans
    for number in pairs.usable.tolist():
        others = {number}
        for _ in range(reach):  # one step to each side
            others |= {int(side) for other in others for side in (spans.before[other], spans.after[other])} - {-1}
        context = pairs(number, draw)[1]
        assert any(same(context, spans[other]) for other in others - {number})


@UNHURRIED
@given(texts=texts_of, limit=limits, seed=seeds)
def test_overlapping_is_the_end_of_the_text_and_the_beginning_of_the_next(
    texts: list[Text], limit: int, seed: int
) -> None:
    material, draw = invented(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Overlapping(), material)) is None:
        return
    spans = material.spans
    for number in pairs.usable.tolist():
        text, context = pairs(number, draw)
        is_last = spans.after[number] < 0
        other = spans[int(spans.before[number] if is_last else spans.after[number])]
        ids, starts = context.ids.tolist(), dict(zip(text.ids.tolist(), text.starts.tolist(), strict=True))
        shared = [id_ for id_ in ids if id_ in starts]
        rest = [id_ for id_ in ids if id_ not in starts]
        assert shared and rest and len(shared) < len(starts)
        most, longest_word = max(len(text.ids), len(other.ids)), 12
        assert len(ids) <= most
        words = int(text.starts.sum())
        cut = len(shared) if is_last else len(starts) - len(shared)  # where the text is cut
        assert text.starts[cut] or words == 1
        if not is_last:
            assert ids == [*text.ids.tolist()[-len(shared) :], *other.ids.tolist()[: len(rest)]]
            assert len(ids) == min(most, len(shared) + len(other.ids))
        else:
            assert ids == [*other.ids.tolist()[-len(rest) :], *text.ids.tolist()[: len(shared)]]
            assert other.starts[len(other.ids) - len(rest)] or not other.starts[-(most - len(shared)) :].any()
        assert context.starts[0] and context.starts[len(rest) if is_last else len(shared)]
        assert 0.25 * len(starts) - longest_word <= len(shared) <= 0.5 * len(starts) + longest_word


def test_the_share_of_an_overlap_is_between_a_quarter_and_a_half() -> None:
    material = invented([([1] * 100, "a"), ([1] * 60, "a")], 200)
    pairs, draw = Overlapping().pairs(material), np.random.default_rng(0)
    contexts = [pairs(0, draw)[1].ids for _ in range(500)]
    shares = np.array([(ids < 100).sum() for ids in contexts])
    assert (shares.min(), shares.max()) == (25, 50) and 36 < shares.mean() < 39
    assert all(len(ids) == min(100, share + 60) for ids, share in zip(contexts, shares, strict=True))
    mirrored = [pairs(1, draw)[1].ids for _ in range(500)]
    shares = np.array([(ids >= 100).sum() for ids in mirrored])
    assert (shares.min(), shares.max()) == (15, 30)
    assert all(len(ids) == 100 and ids[-share - 1] == 99 for ids, share in zip(mirrored, shares, strict=True))


@pytest.mark.parametrize(
    ("first", "second", "from_first", "from_second"),
    [
        # The first text is 8 tokens; between 2 and 4 of them are wanted, from a word start.
        ([5, 3], [2, 2, 2, 2], {(5, 8)}, {(0, 5)}),
        ([3, 3, 2], [2, 2, 2, 2], {(6, 8)}, {(0, 6)}),
        ([7, 1], [2, 2, 2, 2], {(7, 8)}, {(0, 7)}),
        ([1, 7], [2, 2, 2, 2], {(1, 8)}, {(0, 1)}),  # one word at least, though it is more than half
        ([8], [2, 2, 2, 2], {(4, 8), (5, 8), (6, 8)}, {(0, 4), (0, 5), (0, 6)}),  # a single word is cut
    ],
)
def test_overlaps_worked_out_by_hand(
    first: list[int],
    second: list[int],
    from_first: set[tuple[int, int]],
    from_second: set[tuple[int, int]],
) -> None:
    pairs, draw = Overlapping().pairs(invented([(first, "a"), (second, "a")], 12)), np.random.default_rng(0)
    seen: tuple[set[tuple[int, int]], set[tuple[int, int]]] = set(), set()
    for _ in range(200):
        ids = pairs(0, draw)[1].ids
        for part, found, base in ((ids[ids < 8], seen[0], 0), (ids[ids >= 8], seen[1], 8)):
            found.add((int(part[0]) - base, int(part[-1]) - base + 1))
    assert seen == (from_first, from_second)


@pytest.mark.parametrize(
    ("words", "contexts"),
    [
        # The first text is 8 tokens, with words at 3 and 6. Between 2 and 4 are wanted of the second, up to a word.
        ([3, 1, 4], {(3, 11), (6, 12)}),  # four of the second leave room from 4 on, where no word starts
        ([2, 1, 2, 3], {(3, 10), (3, 11)}),
        ([7, 1], {(7, 15)}),  # one word at least; no word starts in what room it leaves
        ([8], {(3, 10), (3, 11), (6, 12)}),  # a single word is cut
    ],
)
def test_mirrored_overlaps_worked_out_by_hand(words: list[int], contexts: set[tuple[int, int]]) -> None:
    pairs, draw = Overlapping().pairs(invented([([3, 3, 2], "a"), (words, "a")], 12)), np.random.default_rng(0)
    drawn = [pairs(1, draw)[1].ids.tolist() for _ in range(200)]
    assert {(ids[0], ids[-1] + 1) for ids in drawn} == contexts
    assert all(ids == list(range(ids[0], ids[-1] + 1)) for ids in drawn)


def test_what_is_drawn_is_drawn_evenly() -> None:
    material = invented([([1] * 10, "a")] * 12, 20)
    draw, count = np.random.default_rng(0), 6000

    def drawn(context: Context, number: int) -> Counter[int]:
        pairs = context.pairs(material)
        return Counter(int(pairs(number, draw)[1].ids[0]) for _ in range(count))

    near = drawn(Near(), 5)
    assert set(near) == {40, 60} and abs(near[40] / count - 0.5) < 0.03
    assert drawn(Near(), 0) == {10: count} and drawn(Near(), 11) == {100: count}
    for number, others in ((5, {3, 4, 6, 7}), (0, {1, 2}), (11, {9, 10}), (1, {0, 2, 3})):
        found = drawn(Random(2), number)
        assert set(found) == {10 * other for other in others}
        assert all(abs(times / count - 1 / len(others)) < 0.03 for times in found.values())
    assert set(drawn(Random(), 5)) == {10 * other for other in range(12)} - {50}
    mixed = drawn(Mixed(), 5)
    overlapping = sum(times for at, times in mixed.items() if at % 10)
    assert abs(overlapping / count - 1 / 3) < 0.03
    assert abs((mixed[40] + mixed[60]) / count - (1 / 3 + 2 / 33)) < 0.03
    assert set(drawn(Mixed(reach=2), 5)) - {at for at in mixed if at % 10} == {30, 40, 60, 70}


@pytest.mark.parametrize("kind", [Random, Mixed])
def test_no_reach_is_refused(kind: type[Random | Mixed]) -> None:
    with pytest.raises(ValueError, match="reach must be 1 or more, not 0"):
        kind(reach=0)


# -------------------------------------------------------------------------------------------------------------- crops


@UNHURRIED
@given(texts=texts_of, limit=limits, seed=seeds, shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_crops_lie_within_their_span(texts: list[Text], limit: int, seed: int, shares: tuple[float, float]) -> None:
    least, most = sorted(shares)
    material, draw = invented(texts, limit), np.random.default_rng(seed)
    if (pairs := pairs_of(Crops(least, most), material)) is None:
        return
    spans = material.spans
    assert pairs.usable.tolist() == np.flatnonzero(spans.lengths >= 8).tolist()
    for number, length in zip(pairs.usable.tolist(), pairs.lengths.tolist(), strict=True):
        span = spans[number]
        for crop in pairs(number, draw):
            at = int(crop.ids[0] - span.ids[0])
            assert crop.ids.tolist() == span.ids[at : at + len(crop.ids)].tolist()
            assert at >= 0 and span.starts[at] and crop.starts[0]
            assert max(4, int(least * len(span.ids))) <= len(crop.ids) <= length <= max(4, most * len(span.ids) + 1)


def test_crops_are_drawn_evenly_between_their_shares() -> None:
    material = invented([([1] * 100, None)], 200)
    pairs, draw = Crops().pairs(material), np.random.default_rng(0)
    assert pairs.lengths.tolist() == [50]
    both = [pairs(0, draw) for _ in range(3000)]
    for side in (0, 1):
        lengths = np.array([len(pair[side].ids) for pair in both])
        assert (lengths.min(), lengths.max()) == (10, 50) and abs(lengths.mean() - 30) < 1
        ends = np.array([(int(pair[side].ids[0]), int(pair[side].ids[-1])) for pair in both])
        assert ends[:, 0].min() == 0 and ends[:, 1].max() == 99 and abs(ends.mean() - 49.5) < 1.5
    assert sum(same(*pair) for pair in both) < 30


@pytest.mark.parametrize(("least", "most"), [(0, 0.5), (0.6, 0.5), (0.1, 1.1), (-0.1, 0.5)])
def test_shares_out_of_range_are_refused(least: float, most: float) -> None:
    said = f"least_share must be above 0 and no more than most_share, and that at most 1, not {least} and {most}"
    with pytest.raises(ValueError, match=re.escape(said)):
        Crops(least, most)


# ------------------------------------------------------------------------------------------------------------ queries


def judge(dataset: Path, lines: Sequence[tuple[str, str, int]], split: str = "train") -> None:
    rows = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in lines)
    (dataset / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def test_the_queries_of_a_text_are_those_judged_relevant_and_evenly_drawn(dataset: Path, tokenizer: Tokenizer) -> None:
    river, engine = "river-history", "engine-repair"
    judge(
        dataset,
        [
            *[("q-river-history", river, 1), ("q-comet-repair", river, 2), ("q-violin-repair", river, 0)],
            *[("q-violin-repair", engine, 1), ("q-comet-repair", engine, -1)],
        ],
    )
    material = material_of(Beir(dataset), tokenizer)
    with progress.listening(Heard()) as heard:
        pairs = Queries().pairs(material)
    assert isinstance(heard, Heard)
    assert heard.notes == [
        "38 of 40 texts have no query of the split 'train' and are left out",
        "3 queries ask for 2 texts",
    ]
    at, draw = material.corpus.number_of, np.random.default_rng(0)
    assert pairs.usable.tolist() == [at[river], at[engine]]

    def asked(document: str) -> Counter[str]:
        found = (pairs(at[document], draw)[1].ids.tolist() for _ in range(2000))
        return Counter(tokenizer.core.decode(ids) for ids in found)

    of_river = asked(river)
    assert set(of_river) == {"tell me about the river history", "tell me about the comet repair"}
    assert all(abs(times - 1000) < 120 for times in of_river.values())
    assert asked(engine) == {"tell me about the violin repair": 2000}


def test_a_long_query_is_cut_and_an_empty_one_never_drawn(dataset: Path, tokenizer: Tokenizer) -> None:
    texts = {"q-river-history": "engine " * 100, "q-river-repair": " "}
    lines = [json.dumps({"_id": id_, "text": text}) for id_, text in texts.items()]
    (dataset / "queries.jsonl").write_text("\n".join(lines) + "\n")
    judge(dataset, [(id_, "river-history", 1) for id_ in texts] + [("q-river-repair", "river-repair", 1)])
    material = material_of(Beir(dataset), tokenizer, 40)
    pairs, draw = Queries().pairs(material), np.random.default_rng(0)
    assert pairs.usable.tolist() == [0] and pairs.lengths.tolist() == [38]
    assert {len(pairs(0, draw)[1].ids) for _ in range(50)} == {38}
    judge(dataset, [("q-river-repair", "river-repair", 1)])
    with pytest.raises(
        DataError, match=re.escape(f"{dataset}: no text has a query of the split 'train'. Set the split")
    ):
        Queries().pairs(material)


def test_every_part_of_a_text_has_its_queries(dataset: Path, tokenizer: Tokenizer) -> None:
    material = material_of(Beir(dataset), tokenizer, 14)
    pairs = Queries(split="dev").pairs(material)
    judged = {material.corpus.number_of[str(d["_id"])] for d in toys.documents()[20:30]}
    assert material.spans.texts[pairs.usable].tolist() == [t for t in material.spans.texts.tolist() if t in judged]
    assert len(pairs.usable) == 20  # of ten texts


def test_queries_may_come_from_another_data_set(dataset: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    bare = Jsonl(written(tmp_path, toys.documents()))
    pairs = Queries(path=dataset, split="test").pairs(material_of(bare, tokenizer))
    assert pairs.usable.tolist() == list(range(30, 40))
    text = tokenizer.core.decode(pairs(30, np.random.default_rng(0))[1].ids.tolist())
    assert text == f"tell me about the {toys.documents()[30]['title']}"


def test_queries_are_tokenised_once(dataset: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    material = material_of(Beir(dataset), tokenizer)
    calls: list[int] = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda texts: calls.append(len(texts)) or encode(texts))
    for _ in range(2):
        pairs, draw = Queries().pairs(material), np.random.default_rng(0)
        for number in pairs.usable.tolist():
            pairs(number, draw)
    assert calls == [20]


def test_judged_documents_that_the_corpus_lacks_are_named(dataset: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    file = written(tmp_path, [d for d in toys.documents() if d["_id"] not in ("river-repair", "comet-history")])
    said = (
        f"{dataset}: 2 of 20 documents judged relevant in the split 'train' are not in the corpus {file}, among them "
        "comet-history, river-repair (in the corpus: river-history). Give the corpus that the judgments are about, or "
        "take these lines out of the judgments"
    )
    with pytest.raises(DataError) as caught:
        Queries(path=dataset).pairs(material_of(Jsonl(file), tokenizer))
    assert str(caught.value) == said
    judge(dataset, [("q-river-history", "river-history", 1), ("q-river-repair", "nowhere", 0)])
    assert Queries(path=dataset).pairs(material_of(Jsonl(file), tokenizer)).usable.tolist() == [0]


def test_a_split_or_queries_that_are_not_there_are_named(dataset: Path, tokenizer: Tokenizer) -> None:
    material = material_of(Beir(dataset), tokenizer)
    remedy = "set its path to a data set that has both, or its split to another one (here: dev, test, train)"
    for context, said in (
        (Queries("none"), f"{dataset} has no judgments for the split 'none'"),
        (Queries(), f"{dataset} has no queries.jsonl"),
    ):
        with pytest.raises(DataError, match=f"^{re.escape(said)}.*{re.escape(remedy)}"):
            context.pairs(material)
        (dataset / "queries.jsonl").unlink(missing_ok=True)
    with pytest.raises(DataError, match="nowhere/set: there is no such file or folder"):
        Queries(path=Path("nowhere/set")).pairs(material)
