"""Number formats: float32, or bfloat16 products where the processor is made for them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which matrix products run in the chosen format; the weights stay float32.

    ``auto`` is bfloat16 on a GPU that has it and on processors with AMX or AVX-512-BF16, and float32 elsewhere.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=resolved(precision, device) == "bfloat16")


def resolved(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What ``auto`` means on this device."""
    if precision != "auto":
        return precision
    has = torch.cuda.is_bf16_supported() if device.type == "cuda" else _processor_has_bfloat16()
    return "bfloat16" if has else "float32"


def _processor_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False  # no Linux: float32 is right everywhere
    return "amx_bf16" in flags or "avx512_bf16" in flags
