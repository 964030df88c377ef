"""Parquet files and folders of the package datasets as documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from encloze.data.formats.base import Format
from encloze.data.formats.hf_dataset import HfDataset
from encloze.data.formats.pairs import Pairs
from encloze.data.formats.parquet import Parquet
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document
from encloze.errors import DataError
from toys import save_to_disk

ROWS = [
    {"_id": 7, "title": "Nuts", "text": "For wood.", "doc_id": "book", "position": 2, "price": 3.5},
    {"_id": 8, "title": None, "text": "Glue.", "doc_id": None, "position": None, "price": 1.0},
]
DOCUMENTS = [
    Document("7", "Nuts", "For wood.", "book", 2, {"price": 3.5}),
    Document("8", "", "Glue.", fields={"price": 1.0}),
]


def read(format_: Format) -> list[Document]:
    errors = ErrorCollector()
    documents = list(format_.documents(errors))
    errors.raise_if_any()
    return documents


def parquet(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir(parents=True)
    for number, table in enumerate(tables):
        write_table(table, folder / f"part-{number}.parquet")
    return folder


@pytest.mark.parametrize("write", [parquet, save_to_disk])
def test_all_files_are_read_in_order(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(
        tmp_path / "data", *(pa.Table.from_pylist([row], schema=pa.Table.from_pylist(ROWS).schema) for row in ROWS)
    )
    assert read(Format.from_name(str(folder))) == DOCUMENTS  # type: ignore[arg-type]
    (folder / "README.md").write_text("About these data.")
    assert Format.recognize(folder) is (Parquet if write is parquet else HfDataset)


def test_field_names_are_settings_and_suggested(tmp_path: Path) -> None:
    file = (
        parquet(tmp_path / "data", pa.table({"sku": ["a"], "name": ["Bolt"], "details": ["It holds."]}))
        / "part-0.parquet"
    )
    assert read(Parquet(file, text_field="details", id_field="sku")) == [
        Document("a", "", "It holds.", fields={"name": "Bolt"})
    ]
    errors = ErrorCollector()
    assert not list(Parquet(file).documents(errors))
    assert errors.messages[0].startswith(
        'part-0.parquet, row 1: missing field "text" (fields: "sku", "name", "details"). Set text_field to the field '
        "with the text, such as details (on the command line --corpus.text_field details"
    )


def test_pairs_are_read_from_parquet_and_saved_datasets(tmp_path: Path) -> None:
    file = parquet(tmp_path / "data", pa.table({"question": ["why?"], "answer": ["because"]})) / "part-0.parquet"
    for path in (
        file,
        file.parent,
        save_to_disk(tmp_path / "saved", pa.table({"question": ["why?"], "answer": ["because"]})),
    ):
        assert [document.text for document in read(Pairs(path))] == ["because"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty does not exist or contains no pairs"):
        read(Pairs(tmp_path / "empty"))


def test_a_split_of_a_dataset_dict_is_selected(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_to_disk(tmp_path / "data" / split, pa.table({"text": [split]}))
    (tmp_path / "data" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert Format.recognize(tmp_path / "data") is HfDataset
    assert read(HfDataset(tmp_path / "data", split="test")) == [Document("0", "", "test")]
    with pytest.raises(DataError, match="has the splits train, test. Set split to one of them"):
        read(HfDataset(tmp_path / "data"))
    with pytest.raises(DataError, match="has no split 'dev'. Its splits are: train, test"):
        read(HfDataset(tmp_path / "data", split="dev"))
    with pytest.raises(DataError, match="is a dataset without splits. Remove the setting split"):
        read(HfDataset(tmp_path / "data" / "train", split="train"))


def test_folders_of_the_package_datasets_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(30)]
    data = datasets.Dataset.from_list(rows)
    data.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict({"train": data.select([5, 3])}).save_to_disk(str(tmp_path / "dict"))
    assert read(HfDataset(tmp_path / "one")) == [Document(row["id"], "", row["text"]) for row in rows]
    assert [document.id for document in read(HfDataset(tmp_path / "dict"))] == ["5", "3"]


@pytest.mark.parametrize(
    "state",
    ["[]", "{}", '{"_data_files": 3}', '{"_data_files": [{"filename": "../a.arrow"}]}', '{"_data_files": [1]}', "{"],
)
def test_a_damaged_state_is_an_error(state: str, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "data", pa.table({"text": ["x"]}))
    (folder / "state.json").write_text(state)
    with pytest.raises(DataError, match=r"state\.json is damaged: .*\. Save the dataset again"):
        read(HfDataset(folder))


@pytest.mark.filterwarnings("ignore:values of the field 'price' are not kept")
@pytest.mark.parametrize("write", [parquet, save_to_disk])
def test_damaged_files_are_errors_and_do_not_crash(write: Callable[..., Path], tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS * 50)
    folder = write(tmp_path / "data", table)
    (file,) = [file for file in folder.iterdir() if file.suffix in (".parquet", ".arrow")]
    whole = file.read_bytes()
    for position in range(0, len(whole), max(len(whole) // 60, 1)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        try:
            read(Format.from_name(str(folder)))  # type: ignore[arg-type]
        except DataError as error:
            assert str(error)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"is damaged: .*again"):
        read(Format.from_name(str(folder)))  # type: ignore[arg-type]
