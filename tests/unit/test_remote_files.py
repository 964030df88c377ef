"""Data sets in object stores: copied into the cache, copied again when they change, read like local ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import fsspec
import pytest

import encloze
import toys
from encloze import Dataset, recipe
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.formats.remote import Remote
from encloze.errors import DataError, EnclozeError, MissingExtraError, RecipeError, StorageError
from encloze.settings import plain
from encloze.storage.cache import cache_folder
from encloze.storage.remote_files import local_copy


@pytest.fixture
def store() -> Iterator[Any]:
    """The file system ``memory://``."""
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()
    local_copy.cache_clear()


def put(store: Any, path: str, *texts: str) -> None:
    rows = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    with store.open(path, "w") as stream:
        stream.write("\n".join(rows) + "\n")


def texts(url: str) -> list[str]:
    """Return the texts of a remote collection as another process reads them, which looks up changes."""
    local_copy.cache_clear()
    return list(Corpus.load(url).texts())


def test_a_file_is_copied_once_and_again_when_it_changes(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "/bucket/texts.jsonl", "rivers", "violins")
    assert texts("memory://bucket/texts.jsonl") == ["rivers", "violins"]
    opened = list[str]()
    original = type(store).open
    monkeypatch.setattr(
        type(store), "open", lambda self, path, *a, **k: opened.append(path) or original(self, path, *a, **k)
    )
    assert texts("memory://bucket/texts.jsonl") == ["rivers", "violins"] and opened == []
    put(store, "/bucket/texts.jsonl", "comets")
    opened.clear()
    assert texts("memory://bucket/texts.jsonl") == ["comets"] and len(opened) == 1
    copy = next(cache_folder().rglob("texts.jsonl"))
    copy.write_text("damaged")
    assert texts("memory://bucket/texts.jsonl") == ["comets"]  # a damaged copy is replaced


def test_a_folder_is_read_with_all_its_files(store: Any, tmp_path: Path) -> None:
    store.put(str(toys.write_dataset(tmp_path / "toys")), "/bucket/toys", recursive=True)
    dataset = Dataset.load("memory://bucket/toys")
    assert len(dataset.corpus) == 40 and "test" in dataset.splits
    report = encloze.evaluate(dataset="memory://bucket/toys", systems=["bm25"], output=tmp_path / "report")
    assert report.systems[0].run
    inputs = json.loads((tmp_path / "report" / "inputs.json").read_text())["inputs"]
    assert len(inputs["dataset"]["sha256"]) >= 32
    assert "memory://bucket/toys" in (tmp_path / "report" / "recipe.yaml").read_text()
    store.rm("/bucket/toys/qrels/test.tsv")
    local_copy.cache_clear()
    assert "test" not in Dataset.load("memory://bucket/toys").splits  # its copy is gone, too


def test_settings_of_the_files_are_options_of_the_address(store: Any) -> None:
    with store.open("/bucket/rows.jsonl", "w") as stream:
        stream.write('{"body": "rivers"}\n')
    values = {"path": "memory://bucket/rows.jsonl", "text_field": "body"}
    format_: Format = recipe.coerce(Format, values, source="test", name="corpus")
    assert format_ == Remote("memory://bucket/rows.jsonl", {"text_field": "body"})
    assert recipe.coerce(Format, plain(format_), source="test", name="corpus") == format_
    assert list(Corpus.from_format(format_).texts()) == ["rivers"]
    with pytest.raises(RecipeError, match="memory://bucket/rows.jsonl has 1 error:\n  options.text_feld: unknown"):
        Corpus.from_format(Remote("memory://bucket/rows.jsonl", {"text_feld": "body"}))


def test_an_interrupted_copy_leaves_nothing_and_continues(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "/bucket/a.jsonl", "rivers")
    put(store, "/bucket/b.jsonl", "violins")
    original = type(store).open

    def fail(self: Any, path: str, *arguments: Any, **settings: Any) -> Any:
        if path.endswith("b.jsonl"):
            raise TimeoutError("no answer")
        return original(self, path, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "open", fail)
        with pytest.raises(DataError, match="memory://bucket cannot be read: TimeoutError: no answer"):
            local_copy("memory://bucket")
    assert {path.name for path in cache_folder().rglob("*.jsonl")} == {"a.jsonl"}
    assert {path.name for path in local_copy("memory://bucket").glob("*.jsonl")} == {"a.jsonl", "b.jsonl"}


def test_a_file_that_ends_too_early_is_refused(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "/bucket/a.jsonl", "rivers")
    original = type(store).info
    monkeypatch.setattr(type(store), "info", lambda self, path, **k: {**original(self, path, **k), "size": 999})
    with pytest.raises(DataError, match=r"a.jsonl has 999 bytes, but only \d+ could be read"):
        local_copy("memory://bucket/a.jsonl")
    assert not list(cache_folder().rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/none.jsonl", "memory://bucket/none.jsonl: there is no such file or folder"),
        ("nonsense://bucket/a.jsonl", "nonsense://bucket/a.jsonl cannot be read: ValueError: Protocol not known"),
        ("adl://bucket/a.jsonl", "Install the package that reads adl:// addresses"),
    ],
)
def test_addresses_that_cannot_be_read(url: str, message: str, store: Any) -> None:
    with pytest.raises(DataError, match=message):
        Corpus.load(url)


def test_a_path_is_no_address() -> None:
    with pytest.raises(EnclozeError, match=r"'texts\.jsonl' is no address such as s3://bucket/texts\.jsonl"):
        recipe.coerce(Format, {"type": "remote", "url": "texts.jsonl"}, source="test", name="corpus")


def test_the_package_that_reads_addresses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"Install it: pip install 'encloze\[remote\]'"):
        local_copy("memory://bucket/a.jsonl")


def test_a_full_disk_is_said(store: Any, full_disk: Callable[[int], AbstractContextManager[None]]) -> None:
    put(store, "/bucket/a.jsonl", "rivers " * 1000)
    with full_disk(1000), pytest.raises(StorageError, match="the disk is full"):
        local_copy("memory://bucket/a.jsonl")
    assert not list(cache_folder().rglob("*.jsonl"))
