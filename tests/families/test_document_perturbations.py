"""Every burden leaves judgments true: what was there keeps its id, and what is new is relevant to nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import toys
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, relevant
from encloze.evaluation.document_perturbations.distractors import Distractors
from encloze.evaluation.document_perturbations.duplicates import Duplicates
from encloze.evaluation.document_perturbations.length import Length
from encloze.evaluation.document_perturbations.position import Position

EVERY = pytest.mark.parametrize("name", DocumentPerturbation.members())


@pytest.fixture
def data(dataset: Path) -> DatasetSplit:
    return DatasetSplit(Beir(dataset), "test")


def made(burden: DocumentPerturbation, data: DatasetSplit, seed: int = 0) -> dict[str, Document]:
    rows = list(burden.documents(data, seed))
    found = {row.id: row for row in rows}
    assert len(found) == len(rows), "an id stands twice"
    return found


@EVERY
def test_what_was_there_is_there_and_what_is_new_answers_nothing(name: str, data: DatasetSplit) -> None:
    found, wanted = made(DocumentPerturbation.member(name)(), data), relevant(data)
    assert len(wanted) == 10
    for document in data.corpus:
        now = found.pop(document.id)
        assert now.title == document.title and document.text in now.text
        assert now == document or document.id in wanted
    assert not wanted & found.keys()
    assert made(DocumentPerturbation.member(name)(), data) == made(DocumentPerturbation.member(name)(), data)


def test_the_same_text_comes_before_or_after(data: DatasetSplit) -> None:
    longer, later = made(Length(num_documents=2), data), made(Position(num_documents=2), data)
    others = [d.text for d in data.corpus if d.id not in relevant(data)]
    for id_ in relevant(data):
        own = data.corpus[data.corpus.number_of[id_]].text
        lent = longer[id_].text.removeprefix(f"{own}\n")
        assert later[id_].text == f"{lent}\n{own}"
        assert len(set(lent.split("\n"))) == 2 and set(lent.split("\n")) <= set(others)
    assert made(Length(), data, 0) != made(Length(), data, 1)


def test_copies_are_of_what_answers_nothing(data: DatasetSplit) -> None:
    found = made(Duplicates(copies=2), data)
    assert len(found) == 40 + 2 * 30
    assert found["river-repair copy 2"].text == found["river-repair"].text


def test_a_document_that_asks_has_no_copy(dataset: Path) -> None:
    """No rule of own ids would leave it out, and it is what the query finds first."""
    rows = [json.loads(line) for line in (dataset / "queries.jsonl").read_text("utf-8").splitlines()]
    own = [json.dumps(row | {"_id": row["_id"].removeprefix("q-")}) for row in rows]
    (dataset / "queries.jsonl").write_text("\n".join(own) + "\n", "utf-8")
    judged = "river-history\triver-repair\t1\n"
    (dataset / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    found = made(Duplicates(), DatasetSplit(Beir(dataset), "test"))
    assert len(found) == 40 + 38 and not {"river-history copy 1", "river-repair copy 1"} & found.keys()


def test_a_distractor_says_what_a_query_says(data: DatasetSplit) -> None:
    found = made(Distractors(), data)
    assert [row.text for row in list(found.values())[40:]] == [query.text for query in data.queries]


def test_where_everything_is_relevant_nothing_can_lend_its_text(tmp_path: Path) -> None:
    folder = toys.write_dataset(tmp_path / "toys")
    lines = [f"q-river-repair\t{d['_id']}\t1\n" for d in toys.documents()]
    (folder / "qrels" / "all.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="every document is relevant to a query of the split 'all'.*burden length out"):
        made(Length(), DatasetSplit(Beir(folder), "all"))


@pytest.mark.parametrize(("name", "count"), [("length", "num_documents"), ("position", "num_documents"), ("duplicates", "copies")])
def test_counts_are_1_or_more(name: str, count: str) -> None:
    with pytest.raises(ValueError, match=f"{count} must be 1 or more, not 0"):
        DocumentPerturbation.member(name)(**{count: 0})
