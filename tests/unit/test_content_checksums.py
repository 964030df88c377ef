"""Checksums of files that are remembered, and cached documents of files that changed without another size or time."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.errors import DataError
from encloze.storage import verified
from encloze.storage.content_checksums import content_checksum

OLD = time.time() - 3600


def put(file: Path, text: str) -> Path:
    """Write a file and set the time of its last modification to one that is always the same."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    os.utime(file, (OLD, OLD))
    return file


@pytest.fixture
def no_clock_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checksums of files be remembered at once, although the files were written just now."""
    monkeypatch.setattr(verified, "_CLOCK_TICK", 0.0)


def texts(path: Path) -> list[str]:
    return [document.text for document in Corpus.from_format(Format.from_name(str(path)))]  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_clock_tick")
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "folder/a.md"])
def test_a_file_that_changed_without_another_size_or_time_is_read_again(
    name: str, replace: bool, tmp_path: Path
) -> None:
    content = {"a.jsonl": '{"id": "1", "text": "%s"}', "a.csv": "id,text\n1,%s\n"}.get(name, "%s")
    file = put(tmp_path / name, content % "old")
    path = file.parent if name == "folder/a.md" else file
    time.sleep(0.02)
    assert texts(path) == texts(path) == ["old"]
    if replace:
        put(tmp_path / "new", content % "new").replace(file)
    else:
        put(file, content % "new")
    assert file.stat().st_mtime == pytest.approx(OLD, abs=1e-3)
    assert texts(path) == ["new"]


@pytest.mark.usefixtures("no_clock_tick")
def test_checksums_are_remembered_until_a_file_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [put(tmp_path / "a", "one"), put(tmp_path / "b", "two")]
    time.sleep(0.02)
    first = content_checksum(files)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)  # no file may be read
        assert content_checksum(files) == first
    (memory,) = (cache / "content_checksums").iterdir()
    memory.write_bytes(b"\xff damaged")
    assert content_checksum(files) == first != content_checksum(files[::-1])
    put(files[0], "oneone").rename(tmp_path / "c")
    put(files[0], "two")
    put(files[1], "one")
    assert content_checksum(files) != first


def test_a_file_that_was_just_written_is_not_remembered(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "_CLOCK_TICK", 60.0)
    content_checksum([put(tmp_path / "a", "one")])
    assert not (cache / "content_checksums").exists()


def test_moved_queries_do_not_change_the_cached_documents(dataset: Path) -> None:
    first = Format.from_name(str(dataset)).fingerprint()  # type: ignore[attr-defined]
    (dataset / "queries.jsonl").write_text("")
    (dataset / "notes.txt").write_text("more")
    assert Format.from_name(str(dataset)).fingerprint() == first  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "a.jsonl", "{}")

    def denied(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(file))

    format_ = Format.from_name(str(file))
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be read: Permission denied"):
        format_.fingerprint()  # type: ignore[attr-defined]


def test_damaged_documents_in_the_cache_are_read_again(tmp_path: Path, cache: Path) -> None:
    file = put(tmp_path / "a.jsonl", '{"id": "1", "text": "rivers flow"}')
    assert texts(file) == ["rivers flow"]
    (cached,) = (cache / "corpora").glob("*.arrow")
    cached.write_bytes(cached.read_bytes().replace(b"rivers", b"cities"))
    assert texts(file) == ["rivers flow"]
