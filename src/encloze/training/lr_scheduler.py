"""Learning rate schedule: linear warmup, then linear or cosine decay, or a constant rate."""

from __future__ import annotations

import math
from typing import Literal

LrScheduler = Literal["linear", "cosine", "constant"]


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int, scheduler: LrScheduler) -> float:
    """Return the learning rate at a step, divided by the peak learning rate.

    Args:
        step: Number of completed steps, 0 at the first step.
        total_steps: Number of steps of the run.
        warmup_steps: Number of steps over which the factor increases linearly to 1, from a value above 0.
        scheduler: Schedule after the warmup: linear or cosine decay to almost 0 at the last step, or constant.

    Returns:
        The factor, from 0 to 1.

    Example:
        >>> learning_rate_factor(5, total_steps=10, warmup_steps=0, scheduler="linear")
        0.5
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if scheduler == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 1 - progress if scheduler == "linear" else (1 + math.cos(math.pi * progress)) / 2
