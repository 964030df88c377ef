"""The command verify: what it checks, its table, its exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encloze
from encloze.cli.main import main
from encloze.errors import CheckpointError
from encloze.storage.manifest import write_manifest
from encloze.storage.run_state import RunState


@pytest.fixture
def index(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    arguments = ["index", "--dataset", str(dataset), "--indexes", "bm25", "--output", str(tmp_path / "index")]
    assert main(arguments) == 0
    capsys.readouterr()
    return tmp_path / "index"


def test_an_intact_folder_has_the_exit_code_0_and_a_table(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(index)]) == 0
    output = capsys.readouterr().out
    assert "checksums, arrays and documents" in output and output.rstrip().endswith(f"{index} is intact.")
    checks = encloze.verify(index).checks
    assert [(check.path, check.files > 8, check.faults) for check in checks] == [(index, True, ())]


def test_a_damaged_file_is_named_and_the_exit_code_is_1(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = index / "bm25" / "lengths.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (index / "versions.json").unlink()
    assert main(["verify", str(index)]) == 1
    output = capsys.readouterr().out
    assert "bm25/lengths.npy has changed since it was written" in output and "versions.json is missing" in output
    assert "damaged" in output and "is intact" not in output


def test_content_is_checked_even_if_the_checksums_are_right(index: Path) -> None:
    assert not encloze.verify(index).faults
    values = np.load(index / "bm25" / "values.npy")
    values[0] = np.nan
    np.save(index / "bm25" / "values.npy", values)
    write_manifest(index)
    assert "bm25/values.npy is damaged: it contains infinite numbers or NaN" in encloze.verify(index).faults[0]


def test_files_that_no_manifest_lists_are_named(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (index / "README.md").write_text("about")
    assert main(["verify", str(index)]) == 0
    assert "Not checked, because no manifest lists them: 1 files (README.md)" in capsys.readouterr().out


def test_headers_of_weights_are_checked(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\xff" * 100)
    write_manifest(model)
    assert "model.safetensors is damaged" in encloze.verify(model).faults[0]


def test_all_results_in_a_folder_and_unfinished_runs_are_verified(tmp_path: Path, index: Path, model: Path) -> None:
    write_manifest(model)
    state = RunState(tmp_path / "training")
    state.prepare({"seed": 0}, resume=False, overwrite=False)
    state.open({"corpus": "1f3a"})
    verification = encloze.verify(tmp_path)
    names = {check.path.relative_to(tmp_path).as_posix() for check in verification.checks}
    assert names == {"index", "model", "training.checkpoint/recipe.json", "training.checkpoint/identity.json"}
    assert not verification.has_failed
    file = state.folder / "recipe.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    assert "recipe.json is damaged" in encloze.verify(tmp_path).faults[0]


def test_folders_of_others_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an extension"}')
    with pytest.raises(CheckpointError, match="contains nothing that encloze wrote"):
        encloze.verify(tmp_path)
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
