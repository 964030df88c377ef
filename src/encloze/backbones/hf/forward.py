"""Change the forward pass of one module: its class is replaced by a subclass with another ``forward`` method."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class _CheckpointedForward(nn.Module):
    """Mixin that stores only the inputs of the module, and repeats its forward pass during the backward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)


class _Float32Forward(nn.Module):
    """Mixin that runs the forward pass in float32 (in float64 if its input is float64), also under autocast."""

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), *args, **kwargs)


def enable_activation_checkpointing(module: nn.Module) -> None:
    """Make a module recompute its activations in the backward pass (Chen et al., 2016).

    In the forward pass, the module stores only its inputs. Outputs and gradients stay the same, also with dropout. A
    second call has no effect.

    Args:
        module: Any module, usually a transformer layer. Its class is replaced by a subclass.

    Example:
        >>> for layer in backbone.layers():
        ...     enable_activation_checkpointing(layer)
    """
    _add_mixin(module, _CheckpointedForward)


def disable_autocast(module: nn.Module) -> None:
    """Make a module compute in float32 when its caller runs under autocast. A second call has no effect.

    Args:
        module: A module whose first argument is a tensor. Its class is replaced by a subclass.

    Example:
        >>> disable_autocast(torch.nn.Linear(4, 2))
    """
    _add_mixin(module, _Float32Forward)


def _add_mixin(module: nn.Module, mixin: type[nn.Module]) -> None:
    if not isinstance(module, mixin):
        base = type(module)
        module.__class__ = type(f"{mixin.__name__.strip('_')}{base.__name__}", (mixin, base), {})
