"""Training checkpoints: weights, optimizer state and step. A new checkpoint replaces the previous one atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from encloze import progress
from encloze.errors import CheckpointError
from encloze.storage.atomic import replace_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.hashes import checksum_file, checksum_of
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_manifest, write_manifest

_NAME = "training_state"


class _State(TypedDict):
    step: int
    threads: int
    logs: NotRequired[dict[str, tuple[int, str]]]


def save_checkpoint(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the checkpoint of a training run. It replaces the previous checkpoint atomically.

    Args:
        folder: Work folder of the training run (``RunState.folder``).
        step: Number of completed optimizer steps.
        module: The trained module; all of its parameters and buffers are saved.
        optimizer: Optimizer of the module.

    Raises:
        StorageError: The folder cannot be written.
    """
    staging = folder / f".{_NAME}.{os.getpid()}"
    try:
        with explain_write_errors(folder):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            save_model(module, str(staging / "module.safetensors"))
            save_file(_optimizer_tensors(optimizer), str(staging / "optimizer.safetensors"))
            logs = {log.name: [log.stat().st_size, checksum_file(log)] for log in sorted(folder.glob("*.jsonl"))}
            state = {"step": step, "threads": torch.get_num_threads(), "logs": logs}
            write_json(staging / "state.json", state)
            write_manifest(staging)
            replace_folder(staging, folder / _NAME)
        for old in folder.glob(f".{_NAME}.*"):  # left by killed processes
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_checkpoint(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint of a training run into ``module`` and ``optimizer``.

    Args:
        folder: Work folder of the training run (``RunState.folder``).
        module: Module with the same architecture as the saved one; changed in place.
        optimizer: Optimizer with the same parameter groups; changed in place.

    Returns:
        The number of completed steps; 0 if there is no checkpoint yet.

    Raises:
        CheckpointError: A file is missing, or its size or checksum differs from the manifest; or a log has changed.
    """
    checkpoint = _find_checkpoint(folder)
    if checkpoint is None:
        return 0
    check_manifest(checkpoint, contents=True)
    with explain_weight_errors(checkpoint):
        load_model(module, str(checkpoint / "module.safetensors"))
        _load_optimizer(optimizer, load_file(str(checkpoint / "optimizer.safetensors")))
    state: _State = read_json(checkpoint / "state.json", _State)
    for name, (size, checksum) in state.get("logs", {}).items():
        _check_log(folder / name, size, checksum)
    if state["threads"] != torch.get_num_threads():
        progress.warn(
            f"the run was started with {state['threads']} threads and resumes with {torch.get_num_threads()}: the "
            "final weights will differ slightly from those of an uninterrupted run. For identical weights, resume with "
            f"OMP_NUM_THREADS={state['threads']}"
        )
    return state["step"]


def _check_log(file: Path, size: int, checksum: str) -> None:
    """Raise CheckpointError if the first ``size`` bytes of a log, which may have grown since, have changed."""
    begin = file.read_bytes()[:size] if file.is_file() else b""
    if len(begin) < size or checksum_of(begin) != checksum:
        raise CheckpointError(
            f"{file} is damaged: it has changed since the last checkpoint. Start over with --overwrite"
        )


@contextmanager
def explain_weight_errors(file: Path) -> Iterator[None]:
    """Raise CheckpointError if the ``with`` block cannot load the weights in a file, or they do not fit the module."""
    try:
        yield
    except (LookupError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{file} is damaged: its weights cannot be loaded ({reason:.200}). Start over with --overwrite"
        ) from error


def _find_checkpoint(folder: Path) -> Path | None:
    """Return the folder of the checkpoint, or None if there is none.

    If the process was killed while it replaced the checkpoint, the previous checkpoint may be in a temporary folder,
    which is then returned.
    """
    current = folder / _NAME
    if current.exists():
        return current
    return next(iter(sorted(folder.glob(f".{_NAME}.old-*"))), None)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of the optimizer's state by ``PARAMETER_NUMBER.NAME``, such as ``0.exp_avg``."""
    return {
        f"{number}.{name}": value.contiguous()
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load into the optimizer the state that ``_optimizer_tensors`` returned.

    Raises:
        ValueError: A tensor has neither the shape of its parameter nor a single value.
        IndexError: The optimizer has no such parameter.
    """
    state = optimizer.state_dict()
    state["state"] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        if value.numel() != 1 and value.shape != parameters[int(number)].shape:
            raise ValueError(f"{key} has the shape {tuple(value.shape)}")
        state["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(state)
