"""Load and inspect transformers' models for masked language modeling."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from encloze.errors import CheckpointError


def missing_class(config: Any) -> str | None:
    """Return an error text if transformers has no ForMaskedLM class for the configuration; None if it has one."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING as SUPPORTED

    return None if type(config) in SUPPORTED else "transformers has no ForMaskedLM class for it"


def require_head(config: Any, missing_reason: str | None) -> None:
    """Raise CheckpointError if ``missing_reason`` is a text that says why the encoder has no usable MLM head."""
    if missing_reason is not None:
        raise CheckpointError(
            f"encoders of type {config.model_type!r} have no usable head for masked language modeling: "
            f"{missing_reason}. Fine-tune the encoder, or pre-train it with the objectives simcse or cropping, which "
            "need no head"
        )


def without_pooler(model: Any) -> Any:
    """Replace the unused pooler of an encoder, if it has one, by an identity layer, and return the encoder."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = nn.Identity()  # not None, because some families call it
    return model


def without_module(module: nn.Module, removed: nn.Module) -> nn.Module:
    """Return ``module`` with its submodule ``removed`` replaced by an identity layer.

    ``removed`` must be the last submodule that the forward pass calls. ``module`` itself is not changed; the result
    shares its parameters.
    """
    if module is removed:
        return nn.Identity()
    if all(child is not removed for child in module.modules()):
        return module
    remainder = copy.copy(module)
    remainder._modules = {name: child and without_module(child, removed) for name, child in module._modules.items()}
    remainder._parameters = {}  # biases that also belong to the removed module
    return remainder
