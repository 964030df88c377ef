"""The help that is printed with placeholders of large libraries is the help that is printed with the libraries."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from encloze import family
from encloze.cli import placeholders
from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.losses.base import Loss
from encloze.models.heads.base import Head
from encloze.objectives.base import Objective

CALLS = [
    *([name] for name in Command.members()),
    *(["pretrain", "--objective", name] for name in Objective.members()),
    ["finetune", "--losses", ",".join(Loss.members()), "--heads", ",".join(Head.members()), "--model", "scratch"],
]
IN_A_NEW_PROCESS = f"""
import sys
from encloze.cli.main import main
from encloze.cli.placeholders import use_placeholders
use_placeholders()
codes = [main([*call, "--help"]) for call in {CALLS}]
loaded = [name for name in placeholders.LIBRARIES if getattr(sys.modules.get(name), "__file__", None)]
assert codes == [0] * len(codes) and not loaded, (codes, loaded)
""".replace("placeholders.LIBRARIES", repr(sorted(placeholders.LIBRARIES)))


def test_the_help_of_every_command_needs_no_large_library(capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert process.returncode == 0, process.stderr
    for call in CALLS:
        assert main([*call, "--help"]) == 0
    assert process.stdout == capsys.readouterr().out


def test_libraries_are_imported_if_other_packages_have_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", finders := list(sys.meta_path))
    member = EntryPoint("mine", "another_package.objectives", "encloze.objectives")
    monkeypatch.setattr(family, "entry_points", lambda: EntryPoints([member]))
    placeholders.use_placeholders()
    assert not any(isinstance(finder, placeholders.PlaceholderFinder) for finder in finders)
    monkeypatch.setattr(family, "entry_points", lambda: EntryPoints([]))
    placeholders.use_placeholders()
    assert isinstance(finders[0], placeholders.PlaceholderFinder)
