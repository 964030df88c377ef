"""Sessions of ONNX Runtime for the graphs of exported models."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError, RecipeError


def open_session(file: Path, providers: list[str], inputs: Collection[str], outputs: Collection[str]) -> Any:
    """Open a graph.

    Args:
        file: The graph.
        providers: Execution providers of ONNX Runtime, as ``providers_of`` returns them.
        inputs: Names of all inputs that a graph may have.
        outputs: Names of the outputs that it must have.

    Raises:
        CheckpointError: The file is missing or damaged, or has other inputs or outputs.
    """
    import onnxruntime as runtime  # a search with BM25 does not need it

    options = runtime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would use the processor
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many classes
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{file} cannot be loaded: {reason}. Export the model again") from error
    found, returned = ({one.name for one in some} for some in (session.get_inputs(), session.get_outputs()))
    if not found <= set(inputs) or not returned >= set(outputs):
        raise CheckpointError(
            f"{file} is a graph of another program: it reads {', '.join(sorted(found))} and returns "
            f"{', '.join(sorted(returned))}. Export the model with encloze export"
        )
    return session


def _threads() -> int:
    """Return the number of threads: ``OMP_NUM_THREADS``, as for other libraries, else all cores; 0 if unknown."""
    if (set_by_user := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return int(set_by_user)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def providers_of(device: str | None) -> tuple[str, list[str]]:
    """Return the kind of a device, ``cpu`` or ``cuda``, and the execution providers of ONNX Runtime for it.

    Args:
        device: ``cpu`` or ``cuda``; by default the CPU.

    Raises:
        RecipeError: ONNX Runtime does not support the device.
    """
    from onnxruntime import get_available_providers

    kind, available = (device or "cpu").partition(":")[0], get_available_providers()
    name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if name not in available:
        message = f"ONNX Runtime does not support {device!r} here. It supports {', '.join(available)}"
        raise RecipeError("the model", [("device", message)])
    return kind, [str(name)]
