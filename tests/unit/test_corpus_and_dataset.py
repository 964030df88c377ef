"""Corpus files, splits of data sets, training examples, groups of duplicates, and run files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze.data import corpus as corpora
from encloze.data.corpus import Corpus
from encloze.data.counts import DatasetCounts
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.formats.jsonl import Jsonl
from encloze.data.formats.trec import Trec
from encloze.data.records import Document, Query, full_text
from encloze.data.runs import read_run, write_run
from encloze.data.training_examples import training_examples
from encloze.errors import DataError, StorageError

THREE = [Document("a", "A", "one", "long", 0), Document("b", "", "two"), Document("ç", "C\n", "", None, -3)]


def put(file: Path, *rows: dict[str, object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# Corpus


def test_a_corpus_behaves_like_a_list(tmp_path: Path) -> None:
    corpus = Corpus.from_documents(THREE, tmp_path / "c.arrow")
    assert len(corpus) == 3 and list(corpus) == THREE and corpus[:] == THREE
    assert corpus[0] == THREE[0] and corpus[-1] == THREE[2] and corpus[np.int64(1)] == THREE[1]  # type: ignore[index]
    assert corpus[1:2] == THREE[1:2] and corpus[5:9] == [] and corpus[2:1] == [] and corpus[-2:] == THREE[1:]
    assert THREE[1] in corpus and list(reversed(corpus)) == THREE[::-1]
    assert list(corpus.ids) == ["a", "b", "ç"] and dict(corpus.number_of) == {"a": 0, "b": 1, "ç": 2}
    assert corpus.column("source").to_pylist() == ["long", None, None]


@pytest.mark.parametrize("number", [3, -4, 10**9])
def test_a_number_outside_the_corpus_is_an_index_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(IndexError, match=f"document index {number} is out of range for a corpus of 3 documents"):
        Corpus.from_documents(THREE, tmp_path / "c.arrow")[number]


def test_a_corpus_is_sliced_with_step_1_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only be sliced with step 1, not 2"):
        Corpus.from_documents(THREE, tmp_path / "c.arrow")[::2]


def test_texts_are_read_in_any_order_and_repeatedly(tmp_path: Path) -> None:
    corpus = Corpus.from_documents(THREE, tmp_path / "c.arrow")
    assert list(corpus.texts()) == ["A one", "two", "C\n "]
    assert list(corpus.texts([2, 0, 0])) == ["C\n ", "A one", "A one"]
    assert list(corpus.texts(np.array([1]))) == ["two"] and list(corpus.texts([])) == []
    assert full_text("", "x") == "x" and full_text("t", "x") == "t x"


def test_a_corpus_of_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "ROWS_PER_BATCH", 3)
    documents = [Document(str(n), "", f"text {n}") for n in range(10)]
    corpus = Corpus.from_documents(documents, tmp_path / "c.arrow")
    assert list(corpus) == documents and corpus[2:7] == documents[2:7] and corpus[9] == documents[9]
    assert list(corpus.texts(range(9, -1, -1))) == [f"text {n}" for n in range(9, -1, -1)]  # type: ignore[arg-type]


def test_the_fingerprint_depends_on_the_documents_only(tmp_path: Path) -> None:
    one, same = Corpus.from_documents(THREE, tmp_path / "1.arrow"), Corpus.from_documents(THREE, tmp_path / "2.arrow")
    other = Corpus.from_documents([*THREE[:2], THREE[2]._replace(text="x")], tmp_path / "3.arrow")
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
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"])),
                st.none() | st.integers() | st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
            ),
        )
    )
)
@settings(max_examples=40, deadline=None)
def test_any_documents_are_read_back(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    assert list(Corpus.from_documents(documents, tmp_path_factory.mktemp("c") / "c.arrow")) == documents


def test_a_format_is_converted_once_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "a.jsonl", {"_id": "a", "text": "one"})
    first = Corpus.from_format(Jsonl(file))
    with monkeypatch.context() as patch:
        patch.setattr(Jsonl, "documents", None)  # it must not be read a second time
        assert list(Corpus.from_format(Jsonl(file))) == list(first)
    put(file, {"_id": "a", "text": "one"}, {"_id": "b", "text": "two"})
    assert list(Corpus.from_format(Jsonl(file)).ids) == ["a", "b"]
    assert Corpus.from_format(Jsonl(file, title_field="text")).texts().__next__() == "one one"


def test_pretraining_documents_are_cached_separately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    format_ = Jsonl(put(tmp_path / "a.jsonl", {"_id": "a", "text": "one"}))
    Corpus.from_format(format_)
    seen = [Document("x", "", "seen in pre-training")]
    monkeypatch.setattr(Jsonl, "pretraining_documents", lambda self, errors: iter(seen))
    assert list(Corpus.from_format(format_, pretraining=True)) == seen
    assert list(Corpus.from_format(format_).ids) == ["a"]


def test_all_errors_and_duplicate_ids_are_reported_together(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"_id": "a", "text": "x"}\n{"_id": "b"}\n{"_id": "a", "text": "y"}\nbroken\n{"_id": "a", "text": ""}\n'
    )
    for _ in range(2):  # also the second time: nothing was cached
        with pytest.raises(DataError) as caught:
            Corpus.from_format(Jsonl(file))
        message = str(caught.value)
        assert message.startswith("4 errors:") and message.count("duplicate document id 'a'") == 2
        assert 'a.jsonl:2: missing field "text"' in message and "a.jsonl:4: invalid JSON" in message
    assert [path for path in (cache / "corpora").rglob("*") if path.is_file()] == []


def test_a_corpus_without_documents_is_an_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"a\.jsonl contains no documents"):
        Corpus.from_format(Jsonl(tmp_path / "a.jsonl"))
    assert [path for path in (cache / "corpora").rglob("*") if path.is_file()] == []


def test_documents_without_text_cause_one_warning(tmp_path: Path) -> None:
    rows = [{"_id": f"e{n}", "text": " \n"} for n in range(5)]
    file = put(tmp_path / "a.jsonl", *rows, {"_id": "t", "title": "T", "text": ""}, {"_id": "x", "text": "x"})
    with pytest.warns(UserWarning, match="5 documents have neither a title nor a text, for example e0, e1, e2$"):
        assert len(Corpus.from_format(Jsonl(file))) == 7
    assert len(Corpus.from_format(Jsonl(file))) == 7  # a second warning would be an error


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Document]:
        yield THREE[0]
        raise DataError("halfway")

    with pytest.raises(DataError, match="halfway"):
        corpora.write_documents(broken(), tmp_path / "c.arrow")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    documents = [Document(str(n), "", "word " * 50) for n in range(5000)]
    with pytest.raises(StorageError, match="^the disk is full"), full_disk(8192):
        Corpus.from_documents(documents, tmp_path / "c.arrow")
    assert list(tmp_path.iterdir()) == []


# Dataset


def test_a_split_has_documents_queries_and_judgments(dataset: Path) -> None:
    dev = DatasetSplit(Beir(dataset), "dev")
    assert len(dev.corpus) == 40 and len(dev.queries) == 10
    assert dev.queries[0] == Query("q-harbour-history", "tell me about the harbour history")
    assert dev.judgments["q-harbour-history"] == {"harbour-history": 1}
    dev.check_judged_documents()


def test_training_examples_contain_document_numbers(dataset: Path) -> None:
    pairs = training_examples(DatasetSplit(Beir(dataset), "train"))
    assert len(pairs) == 20
    query, example = pairs[3]
    assert query.id == "q-river-repair" and example.query == query.text
    assert example.positives == (3,) and example.negatives == ()


def test_hard_negatives_are_the_best_irrelevant_documents_of_a_run(dataset: Path) -> None:
    (dataset / "qrels" / "train.tsv").write_text(
        "q-river-history\triver-history\t1\nq-river-history\triver-repair\t0\n"
    )
    ranking = {"river-history": 9.0, "engine-history": 3.0, "unknown": 5.0, "river-repair": 4.0, "comet-repair": 1.0}
    with pytest.warns(UserWarning, match="1 documents of the run of negatives are not in .*, for example unknown$"):
        ((_, example),) = training_examples(
            DatasetSplit(Beir(dataset), "train"), {"q-river-history": ranking, "other": {"a": 1.0}}
        )
    assert example.positives == (0,) and example.negatives == (3, 4, 15)
    with pytest.warns(UserWarning, match="are not in"):
        ((_, example),) = training_examples(DatasetSplit(Beir(dataset), "train"), {"q-river-history": ranking}, depth=3)
    assert example.negatives == (3,)


def test_missing_negatives_cause_a_warning_or_an_error(dataset: Path) -> None:
    run = {"q-river-history": {"river-history": 2.0, "river-repair": 1.0}, "q-comet-repair": {"comet-repair": 1.0}}
    with pytest.warns(UserWarning, match="19 of 20 queries have no negatives in the run"):
        training_examples(DatasetSplit(Beir(dataset), "train"), run)
    with pytest.raises(DataError, match="has no negative for any query of the split 'train'.*2 are not in the corpus"):
        training_examples(DatasetSplit(Beir(dataset), "train"), {"q-river-history": {"x": 2.0, "y": 1.0}})


def test_queries_without_a_relevant_document_are_skipped_with_a_warning(dataset: Path) -> None:
    (dataset / "qrels" / "train.tsv").write_text("q-river-history\triver-history\t0\nq-comet-repair\tcomet-repair\t2\n")
    with pytest.warns(UserWarning, match="1 queries of the split 'train' have no relevant document and are skipped"):
        ((query, _),) = training_examples(DatasetSplit(Beir(dataset), "train"))
    assert query.id == "q-comet-repair"
    (dataset / "qrels" / "train.tsv").write_text("q-river-history\triver-history\t0\n")
    with pytest.raises(DataError, match="no query of the split 'train' has a relevant document"):
        training_examples(DatasetSplit(Beir(dataset), "train"))


def test_missing_judged_documents_cause_one_warning(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-river-history\tgone\t1\nq-river-history\triver-repair\t1\n")
    dev = DatasetSplit(Beir(dataset), "dev")
    with pytest.warns(UserWarning, match="1 judged documents of the split 'dev' are not in .*for example gone"):
        dev.check_judged_documents()
    dev.check_judged_documents()


def test_a_corpus_without_any_judged_document_is_an_error(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-river-history\tgone\t1\nq-river-history\tlost\t1\n")
    with pytest.raises(DataError, match=r"none of the 2 documents judged .*judged: 'gone', in the corpus: 'river-hist"):
        DatasetSplit(Beir(dataset), "dev").check_judged_documents()


def test_missing_judged_queries_cause_a_warning(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-gone\triver-repair\t1\nq-river-history\triver-history\t1\n")
    with pytest.warns(UserWarning, match="1 judged queries of the split 'dev' are not in .*for example q-gone"):
        assert [query.id for query in DatasetSplit(Beir(dataset), "dev").queries] == ["q-river-history"]


def test_a_split_without_any_judged_query_is_an_error(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-gone\triver-repair\t1\n")
    with (
        pytest.warns(UserWarning, match="q-gone"),
        pytest.raises(DataError, match="no query that is judged in the split 'dev' is among the queries"),
    ):
        _ = DatasetSplit(Beir(dataset), "dev").queries


def test_conflicting_grades_are_an_error_and_repeated_ones_are_not(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q\ta\t1\nq\ta\t1\nq\tb\t1\nq\tb\t2\nr\tb\t2\n")
    with pytest.raises(DataError, match=r"1 error:\n  dev.tsv:4: document 'b' has two grades for query 'q'"):
        _ = DatasetSplit(Beir(dataset), "dev").judgments


def test_duplicate_query_ids_are_errors(dataset: Path) -> None:
    with (dataset / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "q-comet-repair", "text": "again"}\nbroken\n')
    with pytest.raises(
        DataError,
        match=r"(?s)2 errors:.*jsonl:41: duplicate query id 'q-comet-repair'.*queries\.jsonl:42: invalid JSON",
    ):
        _ = DatasetSplit(Beir(dataset), "dev").queries


def test_a_split_without_judgments_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("\n")
    with pytest.raises(DataError, match="has no judgments in the split 'dev'"):
        _ = DatasetSplit(Trec(tmp_path / "qrels"), "dev").judgments


def test_counts_do_not_depend_on_what_was_read_before(dataset: Path) -> None:
    (dataset / "qrels" / "dev.tsv").write_text("q-gone\tgone\t1\nq-river-history\triver-history\t1\nq-x\tlost\t0\n")

    def split() -> DatasetSplit:
        return DatasetSplit(Beir(dataset), "dev")

    with pytest.warns(UserWarning, match="are not in"):
        counts = split().counts(queries=True, documents=True)
        assert counts == DatasetCounts(3, 1, 40, 2, 40, 2, 1)
        read_before = split()
        assert read_before.queries and len(read_before.corpus) == 40
        assert read_before.counts(queries=True, documents=True) == counts
    only_judgments = DatasetCounts.from_judgments(read_before.judgments)
    assert read_before.counts(queries=False, documents=False) == only_judgments == DatasetCounts(3, 1)
    assert split().counts(queries=False, documents=True) == only_judgments.with_documents(
        read_before.judgments, 40, read_before.corpus.number_of.keys()
    )


# Runs


def test_a_run_is_written_in_the_order_of_trec_eval(tmp_path: Path) -> None:
    write_run(tmp_path / "r.trec", {"q": {"a": 1.0, "b": 2.5, "c": 1.0}, "empty": {}}, "mine")
    assert (tmp_path / "r.trec").read_text() == "q Q0 b 1 2.5 mine\nq Q0 c 2 1.0 mine\nq Q0 a 3 1.0 mine\n"


ids = st.text(st.characters(exclude_categories=["Cs", "C", "Z"]), min_size=1, max_size=5)
scores = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=5), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_run_is_read_back_with_all_digits(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]]
) -> None:
    file = tmp_path_factory.mktemp("run") / "r.trec"
    write_run(file, run)
    assert read_run(file) == run


def test_a_run_may_be_gzipped_and_have_tabs(tmp_path: Path) -> None:
    file = tmp_path / "r.trec.gz"
    file.write_bytes(gzip.compress(b"q\tQ0\ta\t9\t1e-3\ttag\nq  Q0 b 1 -2 tag\n"))
    assert read_run(file) == {"q": {"a": 0.001, "b": -2.0}}


def test_ids_with_spaces_are_read_back_from_a_run(tmp_path: Path) -> None:
    run = {"q 1": {"my doc": 2.0, "my other\u00a0doc": 1.0}, "q2": {"plain": 0.5, "a b c": 0.25, " ends ": 0.125}}
    write_run(tmp_path / "run.trec", run)
    assert read_run(tmp_path / "run.trec") == run
    assert "q2 Q0 plain 1 0.5 encloze\n" in (tmp_path / "run.trec").read_text(encoding="utf-8")


def test_malformed_lines_of_a_run_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "r.trec"
    file.write_text("q Q0 a 1 2.0 t\nq Q0 b 2\nq Q0 c 3 high t\nq Q0 a 4 1.0 t\nq Q0 d 5 nan t\nq Q0 e 6 -inf t\n")
    with pytest.raises(DataError) as caught:
        read_run(file)
    assert str(caught.value).splitlines() == [
        "5 errors:",
        (
            "  r.trec:2: expected 6 columns (query Q0 document rank score tag), found 4. Separate all columns by tabs, "
            "or all by blanks"
        ),
        "  r.trec:3: the score must be a finite number, found 'high'",
        "  r.trec:4: document 'a' is ranked twice for query 'q'",
        "  r.trec:5: the score must be a finite number, found 'nan'",
        "  r.trec:6: the score must be a finite number, found '-inf'",
    ]


def test_only_blanks_and_tabs_separate_the_columns_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "r.trec"
    file.write_text("1 Q0 doc\u00a0a 1 9.0 x\n1 Q0 doc\u2003b 2 8.0 x\n", encoding="utf-8")
    assert read_run(file) == {"1": {"doc\u00a0a": 9.0, "doc\u2003b": 8.0}}


@pytest.mark.parametrize(
    "line",
    ["1 Q0 doc a 1 9.0 x", "1 Q0 a 1 9.0", "1 Q0 a 1 9.0 my run", "1\tQ0\tdoc a\t1\t9.0", "1 Q0 a\t1 9.0 x"],
)
def test_lines_of_a_run_have_exactly_six_columns(line: str, tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text(f"1 Q0 b 1 9.5 x\n{line}\n")
    with pytest.raises(DataError, match=r"r\.trec:2: expected 6 columns \(query Q0 document rank score tag\), found"):
        read_run(tmp_path / "r.trec")


@pytest.mark.parametrize(
    "score", ["1_0", "١", "９", "nan", "inf", "1e999", "0x1p3", "--1", "1.2.3", "1\u00a0", "\x0b1"]
)
def test_scores_of_a_run_are_finite_ascii_numbers(score: str, tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text(f"1 Q0 b 1 {score} x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"r\.trec:1: the score must be a finite number, found"):
        read_run(tmp_path / "r.trec")


def test_a_tag_with_blanks_is_written_as_one_column(tmp_path: Path) -> None:
    write_run(tmp_path / "r.trec", {"q": {"a": 1.0}}, "my own run")
    assert (tmp_path / "r.trec").read_text() == "q Q0 a 1 1.0 my-own-run\n"
    assert read_run(tmp_path / "r.trec") == {"q": {"a": 1.0}}


def test_an_empty_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.trec").write_text("\n")
    with pytest.raises(DataError, match=r"r\.trec: the run is empty"):
        read_run(tmp_path / "r.trec")


@pytest.mark.parametrize("id_", ["a\\tb", "a\\nb", "a\\u2028b", "a\\n"])
def test_ids_with_tabs_or_line_breaks_are_errors(id_: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"_id": "{id_}", "text": "x"}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: the document id '.*' contains a tab or a line break"):
        Corpus.from_format(Jsonl(tmp_path / "a.jsonl"))
