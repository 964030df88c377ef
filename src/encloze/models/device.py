"""Choose the device that a model runs on."""

from __future__ import annotations

import torch

from encloze.errors import RecipeError


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Return the torch device named ``device``, after checking that a tensor can be allocated on it.

    Args:
        device: Name of a torch device, such as ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. None selects the
            first GPU if CUDA is available, else the CPU.

    Returns:
        The device.

    Raises:
        RecipeError: If the name is unknown to torch, or the device is not available on this machine.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        message = f"unknown device {device!r}. Use cpu, cuda, cuda:1 or mps"
        raise RecipeError("the model", [("device", message)]) from error
    try:
        torch.empty(1, device=resolved).item()
    except Exception as error:  # each backend raises exceptions of its own
        message = f"the device {device!r} is not available on this machine. Use {', '.join(_available())}"
        raise RecipeError("the model", [("device", message)]) from error
    return resolved


def _available() -> list[str]:
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *["mps"] * torch.backends.mps.is_available()]
