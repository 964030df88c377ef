"""Precision of matrix multiplications: float32, or bfloat16 if the hardware supports it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""``auto``: bfloat16 on GPUs that support it and on CPUs with AMX or AVX-512-BF16, else float32."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Types of torch by precision."""


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which matrix multiplications use ``precision``. Weights stay in float32.

    Args:
        precision: ``auto``, ``float32`` or ``bfloat16``; see ``Precision``.
        device: The device of the model.

    Returns:
        A context manager.

    Example:
        >>> with autocast("bfloat16", torch.device("cpu")):
        ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
        >>> product.dtype
        torch.bfloat16
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision, device) == "bfloat16")


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Return ``precision``; if it is ``auto``, return bfloat16 for hardware that supports it, else float32."""
    if precision != "auto":
        return precision
    supported = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_supports_bfloat16()
    return "bfloat16" if supported else "float32"


@functools.cache
def _cpu_supports_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False  # not Linux: float32 works everywhere
    return "amx_bf16" in flags or "avx512_bf16" in flags


def on_processor(device: torch.device) -> str:
    """Return where a model computes, for titles of progress bars: ``on cuda``, or ``with 2 CPU threads``."""
    count = torch.get_num_threads()
    return f"on {device.type}" if device.type != "cpu" else f"with {count} CPU thread{'s' * (count > 1)}"
