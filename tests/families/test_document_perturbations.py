"""Document perturbations keep judgments valid: ids stay, and added documents are not relevant to any query."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import toys
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.evaluation.document_perturbations.base import DocumentPerturbation, relevant_ids
from encloze.evaluation.document_perturbations.distractors import Distractors
from encloze.evaluation.document_perturbations.duplicates import Duplicates
from encloze.evaluation.document_perturbations.length import Length
from encloze.evaluation.document_perturbations.position import Position


@pytest.fixture
def data(dataset: Path) -> DatasetSplit:
    return DatasetSplit(Beir(dataset), "test")


def perturb(perturbation: DocumentPerturbation, data: DatasetSplit, seed: int = 0) -> dict[str, Document]:
    rows = list(perturbation.documents(data, seed))
    documents = {row.id: row for row in rows}
    assert len(documents) == len(rows), "an id occurs twice"
    return documents


def test_existing_documents_keep_their_ids_and_added_ones_are_not_relevant(data: DatasetSplit) -> None:
    relevant = relevant_ids(data)
    assert len(relevant) == 10
    for name in DocumentPerturbation.members():
        perturbation = DocumentPerturbation.member(name)()
        documents = perturb(perturbation, data)
        assert documents == perturb(perturbation, data)
        for document in data.corpus:
            perturbed = documents.pop(document.id)
            assert perturbed.title == document.title and document.text in perturbed.text
            assert perturbed == document or document.id in relevant, name
        assert not relevant & documents.keys(), name


def test_length_and_position_add_the_same_text(data: DatasetSplit) -> None:
    appended, prepended = perturb(Length(num_documents=2), data), perturb(Position(num_documents=2), data)
    others = [d.text for d in data.corpus if d.id not in relevant_ids(data)]
    for id_ in relevant_ids(data):
        text = data.corpus[data.corpus.number_of[id_]].text
        added = appended[id_].text.removeprefix(f"{text}\n")
        assert prepended[id_].text == f"{added}\n{text}"
        assert len(set(added.split("\n"))) == 2 and set(added.split("\n")) <= set(others)
    assert perturb(Length(), data, 0) != perturb(Length(), data, 1)


def test_duplicates_are_copies_of_documents_that_are_not_relevant(data: DatasetSplit) -> None:
    documents = perturb(Duplicates(copies=2), data)
    assert len(documents) == 40 + 2 * 30
    assert documents["river-repair copy 2"].text == documents["river-repair"].text


def test_a_document_that_is_a_query_is_not_duplicated(dataset: Path) -> None:
    """The query would find its copy first, which ignore_identical_ids does not remove."""
    rows = [json.loads(line) for line in (dataset / "queries.jsonl").read_text("utf-8").splitlines()]
    renamed = [json.dumps(row | {"_id": row["_id"].removeprefix("q-")}) for row in rows]
    (dataset / "queries.jsonl").write_text("\n".join(renamed) + "\n", "utf-8")
    judged = "river-history\triver-repair\t1\n"
    (dataset / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    documents = perturb(Duplicates(), DatasetSplit(Beir(dataset), "test"))
    assert len(documents) == 40 + 38 and not {"river-history copy 1", "river-repair copy 1"} & documents.keys()


def test_distractors_have_the_text_of_a_query(data: DatasetSplit) -> None:
    documents = perturb(Distractors(), data)
    assert [row.text for row in list(documents.values())[40:]] == [query.text for query in data.queries]


def test_length_needs_a_document_that_is_not_relevant(tmp_path: Path) -> None:
    folder = toys.write_dataset(tmp_path / "toys")
    lines = [f"q-river-repair\t{d['_id']}\t1\n" for d in toys.documents()]
    (folder / "qrels" / "all.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="every document is relevant to a query of the split 'all'.*Remove length from"):
        perturb(Length(), DatasetSplit(Beir(folder), "all"))


def test_counts_below_1_raise() -> None:
    for name, setting in (("length", "num_documents"), ("position", "num_documents"), ("duplicates", "copies")):
        with pytest.raises(ValueError, match=f"{setting} must be 1 or more, not 0"):
            DocumentPerturbation.member(name)(**{setting: 0})
