"""How the learning rate goes: up in a line, then down."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["linear", "cosine", "constant"]


def rate(step: int, steps: int, warmup: int, shape: Shape) -> float:
    """The share of the highest learning rate at a step (from 0): above 0 at the first, near 0 at the last."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if shape == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 1 - done if shape == "linear" else (1 + math.cos(math.pi * done)) / 2
