"""Documents on disk, the judged queries of a split, groups of duplicates, and runs written and read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toys
from encloze.data import corpus as corpora
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.beir import Beir
from encloze.data.formats.jsonl import Jsonl
from encloze.data.formats.trec import Trec
from encloze.data.records import Document, Query, full_text
from encloze.data.runs import read_run, write_run
from encloze.errors import DataError

THREE = [Document("a", "A", "one", "long", 0), Document("b", "", "two"), Document("ç", "C\n", "", None, -3)]


def put(file: Path, *rows: dict[str, object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# Corpus


def test_a_corpus_is_a_list_of_documents(tmp_path: Path) -> None:
    corpus = Corpus.of(THREE, tmp_path / "c.arrow")
    assert len(corpus) == 3 and list(corpus) == THREE and corpus[:] == THREE
    assert corpus[0] == THREE[0] and corpus[-1] == THREE[2] and corpus[np.int64(1)] == THREE[1]  # type: ignore[index]
    assert corpus[1:2] == THREE[1:2] and corpus[5:9] == [] and corpus[2:1] == [] and corpus[-2:] == THREE[1:]
    assert THREE[1] in corpus and list(reversed(corpus)) == THREE[::-1]
    assert list(corpus.ids) == ["a", "b", "ç"] and dict(corpus.number_of) == {"a": 0, "b": 1, "ç": 2}
    assert corpus.column("source").to_pylist() == ["long", None, None]


@pytest.mark.parametrize("number", [3, -4, 10**9])
def test_a_number_outside_the_corpus_is_an_index_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(IndexError, match=f"document {number} of 3"):
        Corpus.of(THREE, tmp_path / "c.arrow")[number]


def test_a_corpus_is_not_sliced_in_other_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in steps of 1"):
        Corpus.of(THREE, tmp_path / "c.arrow")[::2]


def test_texts_are_titles_and_texts_in_any_order_and_as_often_as_asked(tmp_path: Path) -> None:
    corpus = Corpus.of(THREE, tmp_path / "c.arrow")
    assert list(corpus.texts()) == ["A one", "two", "C\n "]
    assert list(corpus.texts([2, 0, 0])) == ["C\n ", "A one", "A one"]
    assert list(corpus.texts(np.array([1]))) == ["two"] and list(corpus.texts([])) == []
    assert full_text("", "x") == "x" and full_text("t", "x") == "t x"


def test_a_corpus_of_several_batches_reads_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_ROWS", 3)
    documents = [Document(str(n), "", f"text {n}") for n in range(10)]
    corpus = Corpus.of(documents, tmp_path / "c.arrow")
    assert list(corpus) == documents and corpus[2:7] == documents[2:7] and corpus[9] == documents[9]
    assert list(corpus.texts(range(9, -1, -1))) == [f"text {n}" for n in range(9, -1, -1)]  # type: ignore[arg-type]


def test_the_fingerprint_is_of_the_documents(tmp_path: Path) -> None:
    one, same = Corpus.of(THREE, tmp_path / "1.arrow"), Corpus.of(THREE, tmp_path / "2.arrow")
    other = Corpus.of([*THREE[:2], THREE[2]._replace(text="x")], tmp_path / "3.arrow")
    assert one.fingerprint == same.fingerprint != other.fingerprint


@given(
    st.lists(
        st.builds(
            Document,
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.integers(-(2**63), 2**63 - 1),
        )
    )
)
@settings(max_examples=40, deadline=None)
def test_any_documents_come_back_from_disk(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    assert list(Corpus.of(documents, tmp_path_factory.mktemp("c") / "c.arrow")) == documents


def test_a_format_is_converted_once_and_anew_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path / "a.jsonl", {"_id": "a", "text": "one"})
    first = Corpus.open(Jsonl(file))
    with monkeypatch.context() as patch:
        patch.setattr(Jsonl, "documents", None)  # nothing reads it a second time
        assert list(Corpus.open(Jsonl(file))) == list(first)
    put(file, {"_id": "a", "text": "one"}, {"_id": "b", "text": "two"})
    assert list(Corpus.open(Jsonl(file)).ids) == ["a", "b"]
    assert Corpus.open(Jsonl(file, title_field="text")).texts().__next__() == "one one"


def test_pretraining_has_a_corpus_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    format_ = Jsonl(put(tmp_path / "a.jsonl", {"_id": "a", "text": "one"}))
    Corpus.open(format_)
    seen = [Document("x", "", "seen in pre-training")]
    monkeypatch.setattr(Jsonl, "pretraining_documents", lambda self, faults: iter(seen))
    assert list(Corpus.open(format_, pretraining=True)) == seen
    assert list(Corpus.open(format_).ids) == ["a"]


def test_every_fault_and_every_duplicate_is_reported_together_and_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"_id": "a", "text": "x"}\n{"_id": "b"}\n{"_id": "a", "text": "y"}\nbroken\n{"_id": "a", "text": ""}\n'
    )
    for _ in range(2):  # the second time too: nothing was cached
        with pytest.raises(DataError) as caught:
            Corpus.open(Jsonl(file))
        said = str(caught.value)
        assert said.startswith("4 faults:") and said.count("the id 'a' stands for an earlier document already") == 2
        assert 'a.jsonl:2: no "text" field' in said and "a.jsonl:4: no JSON" in said
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_corpus_without_documents_is_an_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"a\.jsonl holds no documents"):
        Corpus.open(Jsonl(tmp_path / "a.jsonl"))
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_documents_without_any_text_are_named_once(tmp_path: Path) -> None:
    rows = [{"_id": f"e{n}", "text": " \n"} for n in range(5)]
    file = put(tmp_path / "a.jsonl", *rows, {"_id": "t", "title": "T", "text": ""}, {"_id": "x", "text": "x"})
    with pytest.warns(UserWarning, match="5 documents have neither title nor text, among them e0, e1, e2$"):
        assert len(Corpus.open(Jsonl(file))) == 7
    assert len(Corpus.open(Jsonl(file))) == 7  # a second warning would be an error here


def test_an_error_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Document]:
        yield THREE[0]
        raise DataError("halfway")

    with pytest.raises(DataError, match="halfway"):
        corpora.write(broken(), tmp_path / "c.arrow")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from encloze.data.corpus import Corpus
from encloze.data.records import Document
from encloze.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    Corpus.of([Document(str(n), "", "word " * 50) for n in range(5000)], Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.arrow")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("the disk is full"), done.stderr
    assert list(tmp_path.iterdir()) == []


# Dataset


def test_a_dataset_joins_documents_queries_and_judgments(dataset: Path) -> None:
    dev = DatasetSplit(Beir(dataset), "dev")
    assert len(dev.corpus) == 40 and len(dev.queries) == 10
    assert dev.queries[0] == Query("q-harbour-history", "tell me about the harbour history")
    assert dev.judgments["q-harbour-history"] == {"harbour-history": 1}
    dev.check_documents()


def test_examples_are_numbers_of_documents(dataset: Path) -> None:
    pairs = DatasetSplit(Beir(dataset), "train").examples()
    assert len(pairs) == 20
    query, example = pairs[3]
    assert query.id == "q-river-repair" and example.query == query.text
    assert example.positives == (3,) and example.negatives == ()


def test_hard_negatives_come_from_a_run_best_first_without_the_relevant_ones(dataset: Path) -> None:
    (dataset / "qrels" / "train.tsv").write_text(
        "q-river-history\triver-history\t1\nq-river-history\triver-repair\t0\n"
    )
    ranking = {"river-history": 9.0, "engine-history": 3.0, "unknown": 5.0, "river-repair": 4.0, "comet-repair": 1.0}
    with pytest.warns(UserWarning, match="1 documents of the run of negatives are not in .*, among them unknown$"):
        ((_, example),) = DatasetSplit(Beir(dataset), "train").examples({"q-river-history": ranking, "other": {"a": 1.0}})
    assert example.positives == (0,) and example.negatives == (3, 4, 15)
    with pytest.warns(UserWarning, match="are not in"):
        ((_, example),) = DatasetSplit(Beir(dataset), "train").examples({"q-river-history": ranking}, depth=3)
    assert example.negatives == (3,)


def test_a_run_without_negatives_for_some_queries_is_told_and_for_all_refused(dataset: Path) -> None:
    run = {"q-river-history": {"river-history": 2.0, "river-repair": 1.0}, "q-comet-repair": {"comet-repair": 1.0}}
    with pytest.warns(UserWarning, match="19 of 20 queries have no negatives in the run"):
        DatasetSplit(Beir(dataset), "train").examples(run)
    with pytest.raises(DataError, match="ranks no document for the queries of the split 'train'.*2 are not in it"):
        DatasetSplit(Beir(dataset), "train").examples({"q-river-history": {"x": 2.0, "y": 1.0}})


def test_queries_without_a_relevant_document_are_left_out_with_a_word(dataset: Path) -> None:
    (dataset / "qrels" / "train.tsv").write_text("q-river-history\triver-history\t0\nq-comet-repair\tcomet-repair\t2\n")
    with pytest.warns(UserWarning, match="1 queries of the split 'train' have no relevant document and are left out"):
        ((query, _),) = DatasetSplit(Beir(dataset), "train").examples()
    assert query.id == "q-comet-repair"
    (dataset / "qrels" / "train.tsv").write_text("q-river-history\triver-history\t0\n")
    with pytest.raises(DataError, match="no query of the split 'train' has a relevant document"):
        DatasetSplit(Beir(dataset), "train").examples()


def test_judged_documents_that_are_missing_are_named_once(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-river-history\tgone\t1\nq-river-history\triver-repair\t1\n")
    dev = DatasetSplit(Beir(dataset), "dev")
    with pytest.warns(UserWarning, match="1 judged documents of the split 'dev' are not in .*among them gone"):
        dev.check_documents()
    dev.check_documents()


def test_a_dataset_of_which_no_judged_document_is_there_is_refused(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-river-history\tgone\t1\nq-river-history\tlost\t1\n")
    with pytest.raises(DataError, match=r"none of the 2 documents judged .*judged: 'gone', in the corpus: 'river-hist"):
        DatasetSplit(Beir(dataset), "dev").check_documents()


def test_judged_queries_that_are_missing_are_named(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-gone\triver-repair\t1\nq-river-history\triver-history\t1\n")
    with pytest.warns(UserWarning, match="1 judged queries of the split 'dev' are not in .*among them q-gone"):
        assert [query.id for query in DatasetSplit(Beir(dataset), "dev").queries] == ["q-river-history"]


def test_a_split_whose_queries_are_all_missing_is_refused(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-gone\triver-repair\t1\n")
    with (
        pytest.warns(UserWarning, match="q-gone"),
        pytest.raises(DataError, match="no judgment of the split 'dev' is of a query that is there"),
    ):
        _ = DatasetSplit(Beir(dataset), "dev").queries


def test_a_document_judged_in_two_ways_is_a_fault_and_twice_alike_is_none(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q\ta\t1\nq\ta\t1\nq\tb\t1\nq\tb\t2\nr\tb\t2\n")
    with pytest.raises(DataError, match=r"1 fault:\n  dev.tsv:4: document 'b' has two grades for query 'q'"):
        _ = DatasetSplit(Beir(dataset), "dev").judgments


def test_duplicate_queries_are_faults(dataset: Path) -> None:
    with (dataset / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "q-comet-repair", "text": "again"}\nbroken\n')
    with pytest.raises(
        DataError,
        match=r"(?s)2 faults:.*jsonl:41: the id 'q-comet-repair' stands for an earlier.*queries\.jsonl:42: no JSON",
    ):
        _ = DatasetSplit(Beir(dataset), "dev").queries


def test_a_split_without_a_judgment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("\n")
    with pytest.raises(DataError, match="has no judgments in the split 'dev'"):
        _ = DatasetSplit(Trec(tmp_path / "qrels"), "dev").judgments


# Duplicates


def test_identical_texts_share_a_group_whatever_their_case_and_punctuation() -> None:
    texts = ["One thing.", "another", "one, THING", "Another!", "third"]
    assert group_duplicates(texts, 1.0).tolist() == [0, 1, 0, 1, 4]
    assert group_duplicates(texts).tolist() == [0, 1, 0, 1, 4]


def test_nearly_identical_texts_share_a_group_from_the_similarity_on() -> None:
    words = [f"w{number}" for number in range(40)]
    near = [*words[:-1], "other"]  # 36 of 38 distinct runs of four words are shared
    far = [word if number % 4 else "x" for number, word in enumerate(words)]
    texts = [" ".join(each) for each in (words, far, near)]
    assert group_duplicates(texts, 0.9).tolist() == [0, 1, 0]
    assert group_duplicates(texts, 0.96).tolist() == [0, 1, 2]
    assert group_duplicates(texts, 1.0).tolist() == [0, 1, 2]


def test_a_chain_of_pairs_is_one_group() -> None:
    words = [f"w{number}" for number in range(100)]
    chain = [" ".join(words[start : start + 80]) for start in (0, 4, 8, 12, 16)]
    assert group_duplicates([*chain[::2], "apart", *chain[1::2]], 0.85).tolist() == [0, 0, 0, 3, 0, 0]


def test_texts_without_words_are_alike_and_like_nothing_else() -> None:
    assert group_duplicates(["", "a b c d e", "...", "a"]).tolist() == [0, 1, 0, 3]
    assert group_duplicates([]).tolist() == []


def test_groups_are_the_same_every_time_and_named_by_their_smallest_text() -> None:
    texts = toys.texts() + toys.texts()[::-1]
    groups = group_duplicates(texts, 0.5)
    assert groups.dtype == np.int64 and (groups == group_duplicates(texts, 0.5)).all()
    assert (groups <= np.arange(80)).all() and (groups[groups] == groups).all()
    assert groups[40:].tolist() == groups[:40][::-1].tolist()


def test_few_pairs_above_the_similarity_are_missed_and_none_below_it_is_linked() -> None:
    draw = np.random.default_rng(0)
    pairs: list[str] = []
    for number in range(200):
        words = [f"n{number}w{word}" for word in range(100)]
        at = draw.choice(96, replace=False) + 2
        pairs += [" ".join(words), " ".join([*words[:at], "x", *words[at + 1 :]])]  # 93 of 101 runs are shared: .92
    found = group_duplicates(pairs, 0.8)
    assert (found[1::2] == found[::2]).mean() >= 0.97 and len(set(found[::2].tolist())) == 200
    assert (group_duplicates(pairs, 0.95) == np.arange(400)).all()


# Runs


def test_a_run_is_written_in_the_order_of_trec_eval(tmp_path: Path) -> None:
    write_run(tmp_path / "r.trec", {"q": {"a": 1.0, "b": 2.5, "c": 1.0}, "empty": {}}, "mine")
    assert (tmp_path / "r.trec").read_text() == "q Q0 b 1 2.5 mine\nq Q0 c 2 1.0 mine\nq Q0 a 3 1.0 mine\n"


ids = st.text(st.characters(exclude_categories=["Cs", "C", "Z"]), min_size=1, max_size=5)
scores = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=5), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_run_comes_back_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]]
) -> None:
    file = tmp_path_factory.mktemp("run") / "r.trec"
    write_run(file, run)
    assert read_run(file) == run


def test_a_run_may_be_zipped_have_tabs_and_lack_its_tag(tmp_path: Path) -> None:
    file = tmp_path / "r.trec.gz"
    file.write_bytes(gzip.compress(b"q\tQ0\ta\t9\t1e-3\nq Q0 b 1 -2 tag\n"))
    assert read_run(file) == {"q": {"a": 0.001, "b": -2.0}}


def test_ids_with_blanks_come_back_from_a_run(tmp_path: Path) -> None:
    run = {"q 1": {"my doc": 2.0, "my other\u00a0doc": 1.0}, "q2": {"plain": 0.5, "a b c": 0.25, " ends ": 0.125}}
    write_run(tmp_path / "run.trec", run)
    assert read_run(tmp_path / "run.trec") == run
    assert "q2 Q0 plain 1 0.5 encloze\n" in (tmp_path / "run.trec").read_text(encoding="utf-8")


def test_every_faulty_line_of_a_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.trec"
    file.write_text("q Q0 a 1 2.0 t\nq Q0 b 2\nq Q0 c 3 high t\nq Q0 a 4 1.0 t\nq Q0 d 5 nan t\nq Q0 e 6 -inf t\n")
    with pytest.raises(DataError) as caught:
        read_run(file)
    assert str(caught.value).splitlines() == [
        "5 faults:",
        "  r.trec:2: 5 columns were expected, found 4",
        "  r.trec:3: the score should be a number, found 'high'",
        "  r.trec:4: the document 'a' stands twice in the ranking of query 'q'",
        "  r.trec:5: the score should be a number, found 'nan'",
        "  r.trec:6: the score should be a number, found '-inf'",
    ]


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text("\n")
    with pytest.raises(DataError, match=r"r\.trec: the run is empty"):
        read_run(tmp_path / "r.trec")


@pytest.mark.parametrize("id_", ["a\\tb", "a\\nb", "a\\u2028b", "a\\n"])
def test_an_id_that_runs_could_not_hold_is_a_fault(id_: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"_id": "{id_}", "text": "x"}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: the document's id '.*' holds a tab or the end of a line"):
        Corpus.open(Jsonl(tmp_path / "a.jsonl"))
