"""Slices of queries contain the expected queries of a small data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.evaluation.slices import query_slices

DOCUMENTS = {"a": "river", "b": "river bank", "c": "river bank boat", "d": "river x y z u v w"}
QUERIES = {
    "1": "river",
    "2": "river bank",
    "3": "the boat river bank",
    "4": "unseen",
    "5": "river river river bank bank",
}
RELEVANT = {"1": "a", "2": "b", "3": "c", "4": "d", "5": "nowhere"}


@pytest.fixture
def data(tmp_path: Path) -> DatasetSplit:
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": id_, "text": text}) + "\n" for id_, text in rows.items()]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "qrels").mkdir()
    judged = "".join(f"{query}\t{document}\t1\n" for query, document in RELEVANT.items())
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    return DatasetSplit(Beir(tmp_path), "test")


def test_slices_are_thirds_with_their_thresholds_in_the_name(data: DatasetSplit) -> None:
    slices = query_slices(data, str.split)
    inside = {one.name: (np.flatnonzero(one.inside) + 1).tolist() for one in slices}
    assert inside == {
        # Lowest document frequencies: 4 (river), 2 (bank), 1 (boat), none, 2. A third of the known ones is at most 2.
        "rare terms (document frequency at most 2)": [2, 3, 5],
        "unseen terms (in no document)": [3, 4],
        "short queries (words: at most 1)": [1, 4],
        "long queries (words: at least 4)": [3, 5],
        "short relevant documents (words: at most 2)": [1, 2],
        "long relevant documents (words: at least 3)": [3, 4],
    }
    rest = {one.name.partition(" (")[0]: (np.flatnonzero(one.rest) + 1).tolist() for one in slices}
    assert rest["short queries"] == [2, 3, 5] and rest["unseen terms"] == [1, 2, 5]
    # The relevant document of query 5 is missing, and query 4 has only unseen words.
    assert rest["short relevant documents"] == [3, 4] and rest["rare terms"] == [1]


def test_slices_of_all_queries_or_none_are_left_out(data: DatasetSplit) -> None:
    assert query_slices(data, lambda text: ["same"]) == []  # query 5 is neither inside nor in the rest
