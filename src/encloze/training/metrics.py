"""Averages of loss terms and other metrics over the steps between two lines of the training log."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import Tensor


class MetricAverages:
    """Means of metrics (such as loss terms) since the last log line, over the items (such as queries) of all processes.

    Each process stores its part of the sum of each metric, and the number of items of all processes (count).

    Args:
        accelerator: Used to add up the sums of all processes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add this process's part of the sum of each metric (scalar tensors) to the stored sums."""
        zero = torch.zeros((), dtype=torch.float64, device=self._accelerator.device)
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, zero) + value

    def add_counts(self, counts: dict[str, Tensor]) -> None:
        """Add the number of items of each metric on all processes (scalar int64 tensors) to the stored counts."""
        zero = torch.zeros((), dtype=torch.int64, device=self._accelerator.device)
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, zero) + count

    def compute(self) -> dict[str, float]:
        """Return the mean of each metric over the items of all processes. Every process must call this method."""
        names = sorted(self._sums)
        stacked = torch.stack([self._sums[name].double() for name in names])
        sums = self._accelerator.reduce(stacked).tolist()
        counts = [self._counts[name].item() for name in names]
        return {name: total / max(1, count) for name, total, count in zip(names, sums, counts, strict=True)}

    def reset(self) -> None:
        """Reset all sums and counts to 0."""
        self._sums, self._counts = {}, {}

    def non_finite(self, names: list[str]) -> list[str]:
        """Return those metrics of ``names`` whose sum on this process is infinite or NaN."""
        return [name for name in names if name in self._sums and not math.isfinite(float(self._sums[name]))]
