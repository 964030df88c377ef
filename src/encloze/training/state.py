"""Unfinished training on disk: a folder beside the output with a checkpoint, the log and the recipe."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from encloze import progress
from encloze.errors import CheckpointError, StorageError
from encloze.storage.atomic import refuse_existing, replace_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_manifest, write_manifest

_CHECKPOINT = "checkpoint"
_RECIPE = "recipe.json"
_IDENTITY = "identity.json"


class Unfinished:
    """Where a run that writes ``output`` keeps what it needs to go on after it was killed."""

    def __init__(self, output: Path) -> None:
        if output.name in ("", ".."):
            refuse_existing(output, overwrite=False)
        self.output = output
        self.folder = output.with_name(f"{output.name}.unfinished")
        self.log = self.folder / "log.jsonl"
        self._recipe: dict[str, Any] = {}
        self._anew = False

    def begin(self, recipe: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Check that a run may begin, or with ``resume`` go on; nothing is written before ``open``.

        Raises StorageError where the output or an unfinished run is in the way, CheckpointError where there is
        nothing to resume or the settings are others.
        """
        refuse_existing(self.output, overwrite=overwrite)
        there = (self.folder / _RECIPE).is_file()
        if resume and there:
            self._compare(recipe)
        elif resume:
            raise CheckpointError(f"there is no unfinished training of {self.output} to resume. Leave --resume out")
        elif there and not overwrite:
            raise StorageError(
                f"{self.folder} holds an unfinished training. Go on with --resume, or give --overwrite to begin anew"
            )
        self._recipe, self._anew = recipe, not resume

    def open(self, identity: dict[str, Any]) -> None:
        """Make the folder, or find it as it was left; ``identity`` tells what is learnt from.

        Raises CheckpointError where a run would go on with other texts than it was begun with.
        """
        if self._anew:
            self.discard()
            made = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
            shutil.rmtree(made, ignore_errors=True)
            with explain_write_errors(self.folder):
                made.mkdir(parents=True)
                write_json(made / _RECIPE, self._recipe)
                write_json(made / _IDENTITY, identity)
                made.rename(self.folder)  # it is there whole or not at all
        elif (self.folder / _IDENTITY).is_file() and (was := read_json(self.folder / _IDENTITY)) != identity:
            changed = ", ".join(name for name in identity if was.get(name) != identity[name])
            raise CheckpointError(
                f"{self.folder} was begun with another {changed}: the files changed since. "
                "Bring them back, or give --overwrite to begin anew"
            )

    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, whole, in place of the last one."""
        staging = self.folder / f".{_CHECKPOINT}.{os.getpid()}"
        try:
            with explain_write_errors(self.folder):
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                save_model(module, str(staging / "module.safetensors"))
                save_file(_flat(optimizer), str(staging / "optimizer.safetensors"))
                write_json(staging / "state.json", {"step": step, "threads": torch.get_num_threads()})
                write_manifest(staging)
                replace_folder(staging, self.folder / _CHECKPOINT)
            for old in self.folder.glob(f".{_CHECKPOINT}.old-*"):  # left by a kill in the middle of this
                shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put a checkpoint's weights and optimizer state in place; returns its step, 0 where there is none yet."""
        folder = self._newest()
        if folder is None:
            return 0
        check_manifest(folder, contents=True)
        load_model(module, str(folder / "module.safetensors"))
        _restore_optimizer(optimizer, load_file(str(folder / "optimizer.safetensors")))
        state = read_json(folder / "state.json")
        if state["threads"] != torch.get_num_threads():
            progress.warn(
                f"the run was begun with {state['threads']} threads and goes on with {torch.get_num_threads()}: "
                "its last bits will differ (OMP_NUM_THREADS sets the number)"
            )
        return int(state["step"])

    def write_log(self, entry: dict[str, Any]) -> None:
        with explain_write_errors(self.folder), self.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def finish(self, folder: Path) -> None:
        """Move the log into the finished folder."""
        if self.log.exists():
            shutil.copyfile(self.log, folder / self.log.name)

    def discard(self) -> None:
        """Remove it: at once gone under its name, so that a kill leaves nothing that looks like an unfinished run."""
        gone = self.folder.with_name(f".{self.folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)  # of an earlier kill
        if self.folder.exists():
            self.folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _newest(self) -> Path | None:
        """The checkpoint; a kill between two renames leaves it under its old name."""
        current = self.folder / _CHECKPOINT
        if current.exists():
            return current
        return next(iter(sorted(self.folder.glob(f".{_CHECKPOINT}.old-*"))), None)

    def _compare(self, recipe: dict[str, Any]) -> None:
        saved = read_json(self.folder / _RECIPE)
        changed = [
            f"{name} was {then!r} and is {now!r}" for name, then, now in _differences(saved, recipe) if then != now
        ]
        if changed:
            raise CheckpointError(
                f"{self.folder} was begun with other settings: {'; '.join(changed)}. "
                "Resume with the same ones, or give --overwrite to begin anew"
            )

    def cut_log(self, step: int) -> None:
        """Forget what was logged after the checkpoint: those steps are run again."""
        if self.log.exists():
            lines = self.log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
            self.log.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{number}.{name}": value.contiguous()
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, flat: dict[str, torch.Tensor]) -> None:
    state = optimizer.state_dict()
    state["state"] = {}
    for key, value in flat.items():
        number, _, name = key.partition(".")
        state["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(state)


def _differences(saved: Any, given: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(given, dict):
        names = dict.fromkeys([*saved, *given])
        return [d for n in names for d in _differences(saved.get(n), given.get(n), f"{path}.{n}".strip("."))]
    return [(path, saved, given)]
