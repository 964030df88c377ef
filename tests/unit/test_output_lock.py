"""Locks of outputs, deletion of folders, and what killed processes leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import encloze
from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.data.runs import read_run
from encloze.errors import CheckpointError, RecipeError, StorageError
from encloze.settings import hints_of
from encloze.storage import locks
from encloze.storage.atomic import atomic_folder
from encloze.storage.cached_files import cached_file
from encloze.storage.manifest import check_manifest, write_manifest
from encloze.storage.model_folders import locate
from encloze.storage.output_lock import lock_output
from encloze.storage.ownership import check_removable
from encloze.storage.run_state import RunState


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write_result(output: Path, text: str = "first") -> Path:
    with atomic_folder(output) as folder:
        (folder / "a.txt").write_text(text)
    return output


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process of its own until it prints a line; kill it at the end."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


HOLD = """
    import sys
    from pathlib import Path
    from encloze.storage.output_lock import lock_output
    with lock_output(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.read()
"""


# Locks


def test_a_locked_output_is_refused_with_the_process_and_its_start(tmp_path: Path) -> None:
    output = tmp_path / "result"
    with another_process(HOLD, output) as process:
        message = rf"{output} is being written by another run, process {process.pid} on .*, started \d{{4}}-\d\d-\d\d "
        with pytest.raises(StorageError, match=message), lock_output(output):
            raise AssertionError("the block ran")
        with pytest.raises(StorageError, match=message), atomic_folder(output):
            raise AssertionError("the block ran")
        with lock_output(tmp_path / "other"):
            pass
        process.kill()
        process.wait()
        with lock_output(output):  # the system has released the lock of the killed process
            pass
    assert names(tmp_path) == []


def test_every_spelling_of_a_path_is_the_same_output(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with another_process(HOLD, tmp_path / "folder" / "result"):
        for path in (tmp_path / "link" / "result", tmp_path / "folder" / ".." / "folder" / "result"):
            with pytest.raises(StorageError, match="is being written by another run"), lock_output(path):
                raise AssertionError("the block ran")


def test_a_thread_may_lock_an_output_twice_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[bool] = []

    def lock() -> None:
        try:
            with lock_output(tmp_path / "result"):
                refused.append(False)
        except StorageError:
            refused.append(True)

    with lock_output(tmp_path / "result"):
        write_result(tmp_path / "result")
        thread = threading.Thread(target=lock)
        thread.start()
        thread.join()
    lock()
    assert refused == [True, False]


def test_a_lock_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    with lock_output(tmp_path / "new" / "deep" / "result"):
        assert names(tmp_path) == ["new", "new/deep", "new/deep/.result.lock"]
    with pytest.raises(KeyboardInterrupt), lock_output(tmp_path / "new" / "result"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_only_the_main_process_of_a_distributed_training_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with another_process(HOLD, tmp_path / "result"):
        monkeypatch.setenv("RANK", "1")
        with lock_output(tmp_path / "result"):
            pass
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(StorageError), lock_output(tmp_path / "result"):
            pass


def test_without_locks_of_the_file_system_a_warning_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encloze.storage.output_lock.try_lock", lambda handle: None)
    with pytest.warns(UserWarning, match="cannot be locked on this file system"), lock_output(tmp_path / "result"):
        pass


def test_every_command_with_an_output_locks_it(tmp_path: Path) -> None:
    locking = set()
    for name in Command.members():
        kind = Command.member(name)
        if "output" in hints_of(kind):
            locking.add(name)
            # rerun runs another command, which locks; report locks the output that it chooses itself
            assert hasattr(kind.run, "__wrapped__") or name in ("rerun", "report"), name
    assert len(locking) > 15


@pytest.mark.parametrize("verb", ["index", "mine", "evaluate"])
def test_a_second_run_is_refused_before_it_does_any_work(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data set does not exist, which only a run that does some work would notice."""
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "river"}\n')
    flags = {"index": ("--indexes", "bm25"), "mine": ("--resume",), "evaluate": ("--systems", "bm25")}[verb]
    with another_process(HOLD, tmp_path / "out"):
        arguments = [verb, "--dataset", str(tmp_path), "--output", str(tmp_path / "out"), *flags]
        assert main(arguments) == 2
        assert "is being written by another run, process" in capsys.readouterr().err


# Deletion


@pytest.mark.parametrize(
    "manifest",
    [
        '{"manifest_version": 3, "name": "An extension", "version": "1.0"}',
        '{"files": {"main.js": "main.1f3a.js"}}',
        '{"files": {}}',
        "[]",
        "{",
    ],
)
def test_a_folder_with_the_manifest_of_another_program_is_not_overwritten(tmp_path: Path, manifest: str) -> None:
    output = tmp_path / "extension"
    output.mkdir()
    (output / "manifest.json").write_text(manifest)
    (output / "main.js").write_text("work of years")
    before = names(tmp_path)
    message = "is not overwritten|encloze did not write"
    with pytest.raises(StorageError, match=message), atomic_folder(output, overwrite=True):
        raise AssertionError("the block ran")
    assert names(tmp_path) == before and (output / "main.js").read_text() == "work of years"


@pytest.mark.parametrize("name", ["notes.txt", "inner/notes.txt", ".git"])
def test_a_result_with_a_file_of_the_user_is_not_overwritten(tmp_path: Path, name: str) -> None:
    output = write_result(tmp_path / "result")
    (output / name).parent.mkdir(exist_ok=True)
    (output / name).write_text("mine")
    message = rf"contains {re.escape(name)}, which encloze did not write and which would be deleted"
    with pytest.raises(StorageError, match=message), atomic_folder(output, overwrite=True):
        raise AssertionError("the block ran")
    assert (output / name).read_text() == "mine"


def test_a_file_that_a_user_adds_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    with pytest.raises(StorageError, match=r"contains notes\.txt"), atomic_folder(output, overwrite=True) as folder:
        (folder / "a.txt").write_text("second")
        (output / "notes.txt").write_text("mine")
    assert names(tmp_path) == ["result", "result/a.txt", "result/manifest.json", "result/notes.txt"]
    assert (output / "a.txt").read_text() == "first"


def test_a_damaged_result_may_be_overwritten_and_its_readme_may_be_edited(tmp_path: Path) -> None:
    output = write_result(tmp_path / "result")
    (output / "a.txt").write_text("damaged")
    (output / "README.md").write_text("edited")
    (output / ".DS_Store").write_text("")
    with atomic_folder(output, overwrite=True) as folder:
        (folder / "a.txt").write_text("second")
    check_manifest(output)


def test_a_symbolic_link_is_not_overwritten(tmp_path: Path) -> None:
    write_result(tmp_path / "result")
    (tmp_path / "link").symlink_to(tmp_path / "result")
    with pytest.raises(StorageError, match="is a symbolic link"), atomic_folder(tmp_path / "link", overwrite=True):
        raise AssertionError("the block ran")
    check_manifest(tmp_path / "result")


@pytest.mark.parametrize("files", [("photo.jpg",), ("recipe.json",), ("recipe.json", "soup.md"), ()])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_the_place_of_the_work_folder_is_not_deleted(
    tmp_path: Path, files: tuple[str, ...], overwrite: bool
) -> None:
    state = RunState(tmp_path / "keep")
    state.folder.mkdir()
    for name in files:
        (state.folder / name).write_text("{}")
    before = names(tmp_path)
    with pytest.raises(StorageError, match=r"keep\.checkpoint, where .* was not written by encloze"):
        state.prepare({}, resume=False, overwrite=overwrite)
    with pytest.raises(CheckpointError, match="no unfinished run"):
        state.prepare({}, resume=True, overwrite=overwrite)
    state.delete()
    assert names(tmp_path) == before


@pytest.mark.parametrize("resume", [False, True])
def test_the_work_folder_of_a_complete_output_is_deleted(
    tmp_path: Path, resume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunState(tmp_path / "model")
    state.prepare({}, resume=False, overwrite=False)
    state.open({})
    with monkeypatch.context() as patch, state.write_output(overwrite=False) as folder:
        (folder / "weights").write_text("1")
        patch.setattr(RunState, "delete", lambda _: None)  # as if the process were killed before
    assert state.folder.exists()
    with pytest.raises(
        StorageError, match="is complete, so there is nothing to resume" if resume else "exists already"
    ):
        RunState(tmp_path / "model").prepare({}, resume=resume, overwrite=False)
    assert names(tmp_path) == ["model", "model/manifest.json", "model/weights"]


def test_an_output_of_another_run_leaves_an_unfinished_run_as_it_is(tmp_path: Path) -> None:
    state = RunState(tmp_path / "model")
    state.prepare({}, resume=False, overwrite=False)
    state.open({})
    write_result(tmp_path / "model")
    with pytest.raises(StorageError, match="exists already"):
        state.prepare({}, resume=True, overwrite=False)
    state.prepare({}, resume=True, overwrite=True)
    assert state.folder.exists()


def test_a_demo_deletes_only_what_demos_write(tmp_path: Path) -> None:
    own = ("demo.json",)
    (tmp_path / "demo.json").write_text("{}")
    write_result(tmp_path / "baselines" / "minilm")
    state = RunState(tmp_path / "pretrained")
    state.prepare({}, resume=False, overwrite=False)
    state.open({})
    check_removable(tmp_path, own)
    (tmp_path / "baselines" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"contains baselines/notes\.txt"):
        check_removable(tmp_path, own)


# What killed processes leave


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from encloze.storage import atomic
    output, moment = Path(sys.argv[1]), sys.argv[2]
    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "between the renames":
        atomic.sync = kill
        rename, calls = Path.rename, []
        def killing_rename(self, target):
            rename(self, target) if not calls else kill()
            calls.append(target)
        Path.rename = killing_rename
    if moment == "before the old one is removed":
        atomic.remove = kill
    if moment == "while the old one is removed":
        def partly(path):
            (path / "manifest.json").unlink()
            kill()
        atomic.remove = partly
    print("started", flush=True)
    with atomic.atomic_folder(output, overwrite=True) as folder:
        (folder / "a.txt").write_text("second")
        if moment == "while it writes":
            kill()
"""
MOMENTS = {
    "while it writes": "first",
    "between the renames": "first",
    "before the old one is removed": "second",
    "while the old one is removed": "second",
}


@pytest.fixture
def killed(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An output whose replacement was killed at some moment."""
    output = write_result(tmp_path / "out[1]")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(output), request.param]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert len(names(tmp_path)) > 3
    return output


@pytest.mark.parametrize(("killed", "text"), MOMENTS.items(), indirect=["killed"])
def test_the_next_run_removes_what_a_killed_one_left(killed: Path, text: str) -> None:
    with pytest.raises(StorageError, match="exists already"), lock_output(killed), atomic_folder(killed):
        raise AssertionError("the block ran")
    assert names(killed.parent) == ["out[1]", "out[1]/a.txt", "out[1]/manifest.json"]
    assert (killed / "a.txt").read_text() == text
    check_manifest(killed)


@pytest.mark.parametrize("killed", ["between the renames"], indirect=True)
@pytest.mark.parametrize("reader", ["model", "run", "index", "verify"])
def test_the_next_reader_restores_what_a_killed_run_had_renamed(
    killed: Path, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not killed.exists()
    if reader == "index":
        assert main(["search", "--index", str(killed), "river"]) == 2
    elif reader == "verify":
        assert main(["verify", str(killed)]) == 0
    else:
        with pytest.raises(Exception, match="out"):
            locate(killed) if reader == "model" else read_run(killed)
    assert names(killed.parent) == ["out[1]", "out[1]/a.txt", "out[1]/manifest.json"]
    assert (killed / "a.txt").read_text() == "first"


def test_a_reader_waits_for_a_process_that_replaces_the_folder(tmp_path: Path) -> None:
    output = write_result(tmp_path / "out")
    code = """
        import sys, time
        from pathlib import Path
        from encloze.storage.output_lock import lock_output
        output, old = Path(sys.argv[1]), Path(sys.argv[1]).with_name(".out.old-1")
        with lock_output(output):
            output.rename(old)
            print("renamed", flush=True)
            time.sleep(0.3)
            old.rename(output)
            sys.stdin.read()
    """
    with another_process(code, output), pytest.raises(CheckpointError, match="it contains a.txt"):
        locate(output)


@pytest.mark.parametrize("name", ["writing-77", "old-77", "checkpoint.old-77", "writing-{pid}", "old-{pid}"])
def test_folders_of_users_with_such_names_are_not_deleted(tmp_path: Path, name: str) -> None:
    folder = tmp_path / f".out.{name.format(pid=os.getpid())}"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    write_result(tmp_path / "out")
    with atomic_folder(tmp_path / "out", overwrite=True):
        pass
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, "out"]


def test_a_killed_process_with_the_same_id_is_recognized_by_its_lock(tmp_path: Path) -> None:
    """In containers, most processes have the same few ids."""
    staging = tmp_path / f".out.writing-{os.getpid()}"
    staging.mkdir()
    (staging / "half.txt").write_text("half")
    (tmp_path / ".out.lock").write_text(json.dumps({"process": os.getpid()}))
    write_result(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/a.txt", "out/manifest.json"]


@pytest.mark.parametrize("content", ["", '{"process": null}', '{"process": "x"}'])
def test_a_lock_file_without_a_process_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / ".out.lock").write_text(content)
    write_result(tmp_path / "out")
    assert names(tmp_path) == ["out", "out/a.txt", "out/manifest.json"]


@pytest.mark.parametrize("content", ["{", "[]", "notes", "\0"])
def test_a_file_of_a_user_in_the_place_of_the_lock_is_not_deleted(tmp_path: Path, content: str) -> None:
    (tmp_path / ".out.lock").write_text(content)
    with pytest.raises(StorageError, match=r"\.out\.lock, where the lock would be, was not written by encloze"):
        write_result(tmp_path / "out")
    assert (tmp_path / ".out.lock").read_text() == content


def test_what_killed_processes_left_in_the_cache_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import os, signal
        from encloze.storage.cache import cache_folder
        from encloze.storage.cached_files import cached_file
        def write(path):
            path.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        cached_file(cache_folder() / "texts" / "a.txt", write)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == -signal.SIGKILL
    assert [path.name[:14] for path in (cache / "texts").iterdir()] == [".a.txt.writing"]
    (cache / "texts" / ".c.txt.4711").write_text("left by an earlier version")
    monkeypatch.setattr(locks, "NOT_YET_LOCKED", -1.0)
    cached_file(cache / "texts" / "b.txt", lambda path: path.write_text("whole"))
    assert names(cache / "texts") == ["b.txt", "b.txt.xxh3_128"]


def test_a_manifest_can_be_written_for_a_folder_of_another_program(tmp_path: Path) -> None:
    write_manifest(write_result(tmp_path / "result"))
    check_removable(tmp_path / "result")


def test_an_output_that_is_or_contains_an_input_is_refused(dataset: Path, tmp_path: Path) -> None:
    index, outer = tmp_path / "results" / "index", tmp_path / "results"
    encloze.index(dataset, indexes=["bm25"], output=index)
    content = sorted(path.name for path in index.iterdir())
    for output in (index, outer, tmp_path / "results" / ".." / "results" / "index"):
        with pytest.raises(RecipeError, match="output: .* is or contains .*index.* which would be deleted"):
            encloze.evaluate(["bm25", index], dataset, output=output, overwrite=True)
    assert sorted(path.name for path in index.iterdir()) == content
    assert encloze.evaluate([index], dataset, output=tmp_path / "other", overwrite=True)
