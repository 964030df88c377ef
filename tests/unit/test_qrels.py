"""Judgment files: the layouts of TREC, MS MARCO and BEIR, header rows, and the range of grades."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.text import Text
from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import ErrorCollector
from encloze.data.qrels import MAX_GRADE, read_qrels
from encloze.data.records import Judgment
from encloze.errors import DataError
from encloze.evaluation.measures import compute_measures


def read(folder: Path, text: str) -> list[Judgment]:
    file, errors = folder / "qrels.tsv", ErrorCollector()
    file.write_text(text, encoding="utf-8")
    judgments = list(read_qrels(file, errors))
    errors.raise_if_any()
    return judgments


@pytest.mark.parametrize(
    "text",
    [
        "1\t184\t1\n",
        "1\t0\t184\t1\n",
        "1 0 184 1\n",
        "1 Q0  184   1 \n",
        "1 184 1\r\n",
        "1\t184\t1 \n",
        "\ufeff1\t184\t1\n",
        "query-id\tcorpus-id\tscore\n1\t184\t1\n",
        "QID\tPID\tLabel\n1\t184\t1\n",
        "score\tquery-id\tcorpus-id\n1\t1\t184\n",
        "query_id\titeration\tdoc_id\trelevance\n1\t0\t184\t1\n",
        "#topic iteration docno rel\n1 0 184 1\n",
        "query-id\tcorpus-id\tscore\tannotator\n1\t184\t1\tme\n",
    ],
)
def test_the_layouts_of_judgments_are_distinguished(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) == [Judgment("1", "184", 1)]


def test_a_beir_folder_with_judgments_of_ms_marco_gives_a_perfect_score(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("1\t0\t184\t1\n2\t0\t0\t1\n")
    judgments = DatasetSplit(Beir(tmp_path), "test").judgments
    assert judgments == {"1": {"184": 1}, "2": {"0": 1}}
    assert compute_measures({"1": {"184": 9.0}, "2": {"0": 9.0}}, judgments, ["nDCG@10"])["nDCG@10"].tolist() == [1, 1]


def test_a_first_judgment_with_a_trailing_blank_is_not_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, "1\t12\t1 \n1\t13\t0\n") == [Judgment("1", "12", 1), Judgment("1", "13", 0)]
    with pytest.raises(DataError, match=r"qrels\.tsv:1: the grade must be an integer .*, found 'r'"):
        read(tmp_path, "q\td\tr\n1\t12\t1\n")  # no words of a header


@pytest.mark.parametrize(
    "text", ["1\t12\n", "1 12 \n", "1\t0\t12\t\n", "1\t0 12\t1\n1\t0\t12\t1", "1 0 2 1\n1\t0\t2 1"]
)
def test_another_number_of_columns_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qrels\.tsv:\d: (expected|the grade must)"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "grade", ["1_0", "١", "2147483647", str(2**63), "9" * 5000, "1.0", "NaN", "1e2", "²", "- 1", ""]
)
@pytest.mark.parametrize("kind", ["beir", "trec", "tsv"])
def test_grades_are_ascii_integers_in_range(kind: str, grade: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    lines = f"q\t0\ta\t1\nq\t0\tb\t{grade}\n"
    for name in ("qrels/test.tsv", "qrels.test.tsv"):
        (tmp_path / name).write_text(lines, encoding="utf-8")
    formats = {"beir": Beir(tmp_path), "trec": Trec(tmp_path / "qrels" / "test.tsv"), "tsv": Tsv(tmp_path)}
    with pytest.raises(DataError, match=r"test\.tsv:2: the grade must be an integer from -10,000 to 10,000"):
        _ = DatasetSplit(formats[kind], "test").judgments


def test_grades_up_to_the_maximum_are_read(tmp_path: Path) -> None:
    assert [j.grade for j in read(tmp_path, f"q\ta\t{MAX_GRADE}\nq\tb\t-{MAX_GRADE}\nq\tc\t+2\n")] == [
        MAX_GRADE,
        -MAX_GRADE,
        2,
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("2019qrels-pass.txt", "19335 Q0 1017759 0\n"),
        ("qrels.dev.small.tsv", "300674\t0\t7067032\t1\n"),
        ("test.tsv.gz", "query-id\tcorpus-id\tscore\nq\td\t1\n"),
        ("qrels", "q d 1\n"),
    ],
)
def test_files_of_judgments_are_recognized_by_their_first_line(name: str, text: str, tmp_path: Path) -> None:
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / name).write_bytes(data)
    assert Format.recognize(tmp_path / name) is Trec


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("notes.txt", "It happened in 1984\n", Text),
        ("notes.md", "Chapter One 1\n", Text),
        ("docs.tsv", "d1\tA title\t1984\n", Tsv),
        ("docs.tsv", "d1\thttp://a\tA title\t1984\n", Tsv),
    ],
)
def test_texts_and_tables_that_end_in_a_number_are_no_judgments(
    name: str, text: str, expected: type[Format], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert Format.recognize(tmp_path / name) is expected
