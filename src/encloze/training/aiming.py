"""Losses that aim at a number: their weights are moved after each step so that the number comes where it is wanted."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from encloze.losses.base import Aim

# Of the logarithm of now / wanted, and no more than 1 of it: how much of it the weight's logarithm keeps after each
# step, and how much it has on top as long as the number is off. Without the second the weight goes on rising until the
# number is far too low, and term weights that have become 0 learn no more. Both are high enough for runs of 300 steps,
# in which the weight has to rise a thousandfold.
_KEPT, _ON_TOP = 0.1, 8.0


class Aiming(nn.Module):
    """The factors of some losses' weights, saved with the module, so that a resumed run goes on with them.

    The number is led from what it first was to what is wanted, by the same factor in each step, over its ramp; held
    there afterwards. (A proportional and integral controller of the weight's logarithm.)
    """

    first: Tensor
    kept: Tensor
    on_top: Tensor

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(losses, dtype=torch.float64))  # 0: not known yet
        self.register_buffer("kept", torch.zeros(losses, dtype=torch.float64))
        self.register_buffer("on_top", torch.zeros(losses, dtype=torch.float64))

    def factors(self) -> list[float]:
        """What the losses' weights are multiplied by."""
        found: list[float] = (self.kept + self.on_top).exp().tolist()
        return found

    def move(self, loss: int, aim: Aim, done: float) -> None:
        """Move the weight of a loss after a step, at a share of the run."""
        if not self.first[loss]:
            self.first[loss] = aim.now
        way = min(1.0, done / aim.ramp_share) if aim.ramp_share else 1.0
        led = (1 - way) * math.log(float(self.first[loss])) + way * math.log(aim.wanted)
        off = max(-1.0, min(1.0, math.log(aim.now) - led))
        self.kept[loss] += _KEPT * off
        self.on_top[loss] = _ON_TOP * off
