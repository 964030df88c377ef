"""Result folders: atomic writes, manifests, provenance, locks and the cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import faiss
import numpy as np
import pytest
import xxhash
from safetensors.numpy import save_file

from encloze.data.corpus_files import write_documents
from encloze.data.records import Document
from encloze.errors import CheckpointError, StorageError
from encloze.search.postings import PostingsWriter
from encloze.storage import locks
from encloze.storage.atomic import atomic_folder, refuse_existing, replace_folder
from encloze.storage.cache import cache_folder, temporary_folder
from encloze.storage.hashes import hash_file, hash_tree
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_manifest, has_manifest, read_manifest, write_manifest
from encloze.storage.provenance import describe_input, write_provenance


class InterruptedWriteError(Exception):
    """An error in the middle of a write."""


def names(folder: Path) -> list[str]:
    """Return the paths of everything in a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write_result(folder: Path) -> Path:
    """Write a result folder with two files."""
    with atomic_folder(folder) as staging:
        (staging / "a.txt").write_text("first")
        (staging / "inner").mkdir()
        (staging / "inner" / "b.bin").write_bytes(b"\0second")
    return folder


# Atomic writes


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "new" / "result"
    with atomic_folder(output) as staging:
        (staging / "a.txt").write_text("x")
        assert staging.parent == output.parent and staging != output
        assert not output.exists()
    assert names(tmp_path) == ["new", "new/result", "new/result/a.txt", "new/result/manifest.json"]


@pytest.mark.parametrize("error", [InterruptedWriteError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_folder(tmp_path / "result") as staging:
        (staging / "half.txt").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_an_existing_folder_is_unchanged_without_overwrite(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    before = hash_tree(output)
    message = f"{output} exists already. Choose another --output, or give --overwrite"
    with pytest.raises(StorageError, match=message), atomic_folder(output):
        raise AssertionError("the block ran")
    assert hash_tree(output) == before
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_folder_that_another_process_has_written_meanwhile_is_unchanged(tmp_path: Path) -> None:
    output = tmp_path / "result"
    with pytest.raises(StorageError, match="exists already"), atomic_folder(output) as staging:
        (staging / "a.txt").write_text("second")
        output.mkdir()
        (output / "a.txt").write_text("first")
        write_manifest(output)
        before = hash_tree(output)
    assert hash_tree(output) == before and not list(tmp_path.glob(".*"))


def test_overwrite_replaces_the_old_folder_and_leaves_none_of_its_files(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    with atomic_folder(output, overwrite=True) as staging:
        (staging / "c.txt").write_text("third")
        assert (output / "a.txt").is_file()  # the old folder stays until the new one is complete
    assert names(tmp_path) == ["result", "result/c.txt", "result/manifest.json"]
    check_manifest(output, contents=True)


def test_overwrite_keeps_the_old_folder_after_an_error(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    before = hash_tree(output)
    with pytest.raises(InterruptedWriteError), atomic_folder(output, overwrite=True) as staging:
        (staging / "a.txt").write_text("other")
        raise InterruptedWriteError
    assert hash_tree(output) == before and [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_file_in_the_way_is_never_replaced(tmp_path: Path) -> None:
    output = tmp_path / "result"
    output.write_text("a file")
    with pytest.raises(StorageError, match="exists already"), atomic_folder(output):
        pass
    with pytest.raises(StorageError, match="was not written by encloze"), atomic_folder(output, overwrite=True):
        pass
    assert output.read_text() == "a file" and names(tmp_path) == ["result"]


def test_an_empty_folder_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    with atomic_folder(tmp_path / "result", overwrite=True) as staging:
        (staging / "a.txt").write_text("x")
    assert names(tmp_path) == ["result", "result/a.txt", "result/manifest.json"]


@pytest.mark.parametrize("path", [".", "..", "/"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_paths_that_cannot_be_new_folders_are_refused(path: str, overwrite: bool) -> None:
    with pytest.raises(StorageError, match="Choose another --output"), atomic_folder(Path(path), overwrite=overwrite):
        raise AssertionError("the block ran")


def test_names_that_are_too_long_and_files_in_the_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, message in (("x" * 240, "longer than 200 bytes"), ("file/sub/result", "file is not a folder")):
        with pytest.raises(StorageError, match=message), atomic_folder(tmp_path / name):
            raise AssertionError("the block ran")
    assert names(tmp_path) == ["file"]


def test_a_folder_with_another_result_inside_is_not_overwritten(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    write_result(output / "other")
    with pytest.raises(StorageError, match="contains another result, .*other, that would be deleted"):
        refuse_existing(output, overwrite=True)
    write_manifest(output)  # a result that consists of several, such as that of run
    refuse_existing(output, overwrite=True)


def test_remains_of_a_killed_process_with_the_same_id_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / f".result.writing-{os.getpid()}"
    remains.mkdir()
    (remains / "old.txt").write_text("x")
    with atomic_folder(tmp_path / "result") as staging:
        (staging / "a.txt").write_text("x")
    assert names(tmp_path / "result") == ["a.txt", "manifest.json"]


def test_replace_moves_a_folder_over_another(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old", "old/new.txt"]


# The disk


def write_faiss(staging: Path) -> None:
    index = faiss.IndexFlatIP(64)
    index.add(np.ones((4000, 64), "f4"))
    faiss.write_index(index, str(staging / "flat.faiss"))


def write_postings(staging: Path) -> None:
    writer, numbers = PostingsWriter(staging), np.arange(40000)
    writer.add(numbers, numbers % 9, numbers + 1)
    writer.finish(9)


def write_arrow(staging: Path) -> None:
    write_documents((Document(str(n), "", "word " * 50) for n in range(5000)), staging / "documents.arrow")


WRITES: dict[str, Callable[[Path], object]] = {
    "python": lambda staging: (staging / "big.bin").write_bytes(bytes(10**6)),
    "numpy": lambda staging: np.zeros(10**6, "u1").tofile(staging / "big.bin"),
    "numpy.save": lambda staging: np.save(staging / "big.npy", np.zeros(10**6)),
    "faiss": write_faiss,
    "postings": write_postings,
    "safetensors": lambda staging: save_file({"a": np.zeros(10**6)}, str(staging / "a.safetensors")),
    "arrow": write_arrow,
}


@pytest.mark.parametrize("writer", WRITES)
def test_a_full_disk_is_one_error_and_changes_nothing(
    tmp_path: Path, writer: str, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    output = write_result(tmp_path / "result")
    before = hash_tree(output)
    with (
        pytest.raises(StorageError) as error,
        full_disk(4096),
        atomic_folder(output, overwrite=True) as staging,
    ):
        (staging / "small.txt").write_text("fits")
        WRITES[writer](staging)
    message = str(error.value)
    assert message.startswith("the disk is full (") and f"while writing {tmp_path}" in message
    assert "Free some space or choose another --output" in message
    assert [path.name for path in tmp_path.iterdir()] == ["result"] and hash_tree(output) == before


def test_the_error_for_a_full_disk_names_the_free_space(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"the disk is full \(\d+ MiB free\)"), atomic_folder(tmp_path / "result"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_other_system_errors_are_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_folder(tmp_path / "result") as staging:
        staging.write_text("x")


def test_a_missing_permission_is_a_storage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot be written: permission denied\. Choose another"),
        atomic_folder(tmp_path / "r"),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "r"))


# The manifest


def test_the_manifest_lists_size_and_checksum_of_every_other_file(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    assert read_manifest(output) == {
        "a.txt": {"bytes": 5, "xxh3_128": xxhash.xxh3_128(b"first").hexdigest()},
        "inner/b.bin": {"bytes": 7, "xxh3_128": xxhash.xxh3_128(b"\0second").hexdigest()},
    }
    check_manifest(output, contents=True)


def test_a_manifest_of_an_earlier_version_with_sha256_is_read_and_checked(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    entries = {
        "a.txt": {"bytes": 5, "sha256": hashlib.sha256(b"first").hexdigest()},
        "inner/b.bin": {"bytes": 7, "sha256": hashlib.sha256(b"\0second").hexdigest()},
    }
    write_json(output / "manifest.json", {"files": entries})
    assert has_manifest(output) and read_manifest(output) == entries
    check_manifest(output)
    (output / "a.txt").write_text("fisrt")
    with pytest.raises(CheckpointError, match=r"a\.txt has changed since it was written"):
        check_manifest(output)


def test_a_manifest_can_be_written_again(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    (output / "c.txt").write_text("third")
    write_manifest(output)
    assert list(read_json(output / "manifest.json")["files"]) == ["a.txt", "c.txt", "inner/b.bin"]
    check_manifest(output, contents=True)


@pytest.mark.parametrize("contents", [False, True])
def test_a_missing_file_is_an_error(tmp_path: Path, contents: bool) -> None:
    output = write_result(tmp_path / "result")
    (output / "inner" / "b.bin").unlink()
    with pytest.raises(CheckpointError, match=rf"{output} is damaged: inner/b\.bin is missing"):
        check_manifest(output, contents=contents)


def test_a_file_of_another_size_is_an_error(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    (output / "a.txt").write_text("firs")
    with pytest.raises(
        CheckpointError, match=r"is damaged: a\.txt has changed since it was written. Create the folder again"
    ):
        check_manifest(output)


@pytest.mark.parametrize("contents", [False, True])
def test_changed_bytes_are_an_error(tmp_path: Path, contents: bool) -> None:
    output = write_result(tmp_path / "result")
    check_manifest(output)
    (output / "a.txt").write_text("fisrt")
    with pytest.raises(CheckpointError, match=r"a\.txt has changed since it was written"):
        check_manifest(output, contents=contents)


def test_a_folder_without_a_manifest_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path} has no manifest.json: the folder was not written by"):
        check_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"files": ')
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged: it is not valid JSON"):
        check_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged: it is not valid JSON"):
        check_manifest(tmp_path)


# Provenance


def test_a_result_keeps_its_recipe_versions_and_inputs(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    source.write_text("{}\n")
    result = tmp_path / "result"
    result.mkdir()
    write_provenance(result, "verb: index\n", {"corpus": source, "model": "minilm", "negatives": None})
    assert (result / "recipe.yaml").read_text() == "verb: index\n"
    assert read_json(result / "inputs.json")["inputs"] == {
        "corpus": {"path": str(source), "sha256": hash_file(source)},
        "model": {"name": "minilm"},
    }
    versions = read_json(result / "versions.json")
    assert versions["python"] == platform.python_version() and {"encloze", "numpy", "pyarrow"} <= set(versions)


def test_an_input_is_described_by_path_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert describe_input("a.txt") == {"path": str(tmp_path / "a.txt"), "sha256": hash_file(tmp_path / "a.txt")}
    assert describe_input("python_docs") == {"name": "python_docs"}


def test_the_hash_of_a_folder_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    def hash_of_folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return hash_tree(tmp_path / name)

    first = hash_of_folder("one", {"a": "x", "b/c": "y"})
    assert hash_of_folder("two", {"b/c": "y", "a": "x"}) == first
    others = [
        hash_of_folder("three", {"a": "y", "b/c": "x"}),
        hash_of_folder("four", {"a": "x", "c": "y"}),
        hash_of_folder("five", {"a": "x"}),
    ]
    assert len({first, *others}) == 4
    assert hash_tree(tmp_path / "one" / "a") == hashlib.sha256(b"x").hexdigest()


def test_json_files_are_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "שלום"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "שלום"\n}\n'
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == read_json(tmp_path / "a.json")


def test_the_cache_folder_is_set_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" and (tmp_path / "own").is_dir()
    monkeypatch.delenv("ENCLOZE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "encloze"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "encloze"


def test_a_killed_process_leaves_no_folder_of_that_name(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from encloze.storage.atomic import atomic_folder
        with atomic_folder(Path(sys.argv[1])) as staging:
            (staging / "half.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    output = tmp_path / "result"
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(output)], check=False)
    assert process.returncode == -9 and not output.exists()
    write_result(output)  # the remains of the killed process are ignored
    check_manifest(output, contents=True)


def test_temporary_folders_of_killed_processes_are_removed_and_others_are_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import sys
        from encloze.storage.cache import cache_folder, temporary_folder
        with temporary_folder() as folder:
            print(folder, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        remains = Path(other.stdout.readline().strip())
        assert remains.parent == cache
        with temporary_folder():  # it is too new to know whether it is about to be locked
            assert remains.is_dir()
        monkeypatch.setattr(locks, "NOT_YET_LOCKED", -1.0)
        with temporary_folder() as own, temporary_folder():
            assert remains.is_dir() and own.is_dir()
        other.kill()
    with temporary_folder() as own:
        assert not remains.exists() and list(cache.glob("working-*")) == [own]
    assert not list(cache.glob("working-*"))


def test_remains_of_a_killed_process_are_removed_and_moved_folders_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import sys
        from pathlib import Path
        from encloze.storage.atomic import atomic_folder
        with atomic_folder(Path(sys.argv[1]), overwrite=True) as folder:
            (folder / "big").write_text("x")
            print(folder, flush=True)
            sys.stdin.read()
    """
    output = tmp_path / "out[1]"
    with atomic_folder(output) as folder:
        (folder / "first").write_text("1")
    command = [sys.executable, "-c", textwrap.dedent(code), str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        remains = Path(other.stdout.readline().strip())
        monkeypatch.setattr(locks, "NOT_YET_LOCKED", -1.0)
        with pytest.raises(StorageError), atomic_folder(output):
            pass
        assert remains.is_dir()  # another process uses it
        other.kill()
    output.rename(tmp_path / ".out[1].old-1")  # a kill between two renames
    with pytest.raises(StorageError, match="exists already"), atomic_folder(output):
        pass
    assert names(tmp_path) == ["out[1]", "out[1]/first", "out[1]/manifest.json"]


def test_a_folder_moved_by_a_killed_process_is_restored_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise hours of work would fail at the end because the output exists."""
    monkeypatch.setattr(locks, "NOT_YET_LOCKED", -1.0)
    output = tmp_path / "out"
    with atomic_folder(output) as folder:
        (folder / "first").write_text("1")
    output.rename(tmp_path / ".out.old-7")
    with pytest.raises(StorageError, match="exists already"):
        refuse_existing(output, overwrite=False)
    (tmp_path / ".out.old-8").mkdir()  # left by a kill just before its removal
    refuse_existing(output, overwrite=True)
    assert names(tmp_path) == ["out", "out/first", "out/manifest.json"]
