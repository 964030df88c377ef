"""Controller that adapts regularization weights to reach a target number of active dimensions per text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from encloze.losses.base import SparsityTarget

# The error is log(active dimensions) - log(setpoint), limited to [-1, 1]. Without the proportional term the weight
# keeps rising until far too few dimensions are active, and term weights that have become 0 receive no gradient. Both
# gains are high enough for runs of 300 steps, in which the weight has to rise by a factor of 1000.
_INTEGRAL_GAIN, _PROPORTIONAL_GAIN = 0.1, 8.0


class SparsityController(nn.Module):
    """Proportional-integral controller of regularization weights, to reach a target number of active dimensions.

    The regularization weight of each loss is multiplied by a factor. After each step, the controller updates the
    logarithm of the factor. During the ramp (the first part of the run, see ``SparsityTarget``), the desired number of
    active dimensions changes geometrically from the number observed in the first step to the target. After the ramp,
    it equals the target. The state consists of buffers, so checkpoints contain it and a resumed run continues from it.

    Args:
        num_losses: Number of losses. The factor of a loss without a target is always 1.

    Example:
        >>> controller = SparsityController(1)
        >>> controller.update(0, 500.0, SparsityTarget("documents", 100, 0.3), progress=0.5)
        >>> controller.factors()[0] > 1
        True
    """

    first: Tensor
    integral: Tensor
    proportional: Tensor

    def __init__(self, num_losses: int) -> None:
        super().__init__()
        for name in ("first", "integral", "proportional"):  # first is 0 until a number has been observed
            self.register_buffer(name, torch.zeros(num_losses, dtype=torch.float64))

    def factors(self) -> list[float]:
        """Return, for each loss, the factor that multiplies its regularization weight."""
        factors: list[float] = (self.integral + self.proportional).exp().tolist()
        return factors

    def update(self, loss: int, active_dims: float, target: SparsityTarget, progress: float) -> None:
        """Update the factor of a loss after a step.

        Args:
            loss: Index of the loss.
            active_dims: Mean number of active (non-zero) dimensions per text in this step; above 0.
            target: Target number of active dimensions, and the length of the ramp as a fraction of the run.
            progress: Fraction of the training steps completed, from 0 to 1.
        """
        if not self.first[loss]:
            self.first[loss] = active_dims
        ramp = min(1.0, progress / target.ramp_ratio) if target.ramp_ratio else 1.0
        setpoint = (1 - ramp) * math.log(float(self.first[loss])) + ramp * math.log(target.active_dims)
        error = max(-1.0, min(1.0, math.log(active_dims) - setpoint))
        self.integral[loss] += _INTEGRAL_GAIN * error
        self.proportional[loss] = _PROPORTIONAL_GAIN * error
