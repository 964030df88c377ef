"""Copies of encoders for inference on CPUs: weights are converted once and laid out as oneDNN reads them fastest.

Under autocast, every forward pass converts all weights to bfloat16 again, and oneDNN and MKL rearrange them in every
product. For a query of a few tokens, that takes more time than the products. benchmarks/encoding.py measures both.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from encloze import progress

_MAX_DIFFERENCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Largest difference of hidden states of the copy and of the model, relative to their root mean square."""


class _OptimizerSteps:
    """Number of steps of all optimizers in this process. Fused optimizers do not count the versions of parameters."""

    count = 0

    @classmethod
    def add(cls, *_: Any) -> None:
        cls.count += 1


register_optimizer_step_post_hook(_OptimizerSteps.add)


class InferenceCopy:
    """Copy of a transformers model whose encoder computes faster on a CPU. It is made again when the weights change.

    It takes 2 bytes for each parameter of the encoder in bfloat16, and about 4 in float32.

    Example:
        >>> fast = InferenceCopy().of(backbone.model, torch.float32)
        >>> fast.base_model(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    def __init__(self) -> None:
        self._copy: Any = None
        self._state: tuple[Any, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> InferenceCopy:
        return InferenceCopy()

    def of(self, model: Any, dtype: torch.dtype) -> Any:
        """Return the copy of a model. Its layers above the encoder share their weights with the model.

        Return the model itself if it is not on a CPU, if torch was built without oneDNN, if oneDNN has no products in
        ``dtype`` on this CPU (bfloat16 needs AVX-512), or if the copy of this kind of model computes something else,
        which a note reports.

        Args:
            model: A transformers model.
            dtype: Type of the encoder's weights in the copy: ``torch.float32`` or ``torch.bfloat16``.
        """
        parameters = list(model.parameters())
        if any(parameter.device.type != "cpu" for parameter in parameters) or not has_packed_products(dtype):
            return model
        # Parameters that were created in inference mode have no version.
        versions = [(each.data_ptr(), 0 if each.is_inference() else each._version) for each in parameters]
        state = (dtype, _OptimizerSteps.count, *versions)
        if state != self._state:
            self._copy, self._state = _checked_copy(model, dtype), state
        return model if self._copy is None else self._copy


class _PackedLinear(nn.Module):
    """Linear layer with packed weights, which cannot be trained, followed by GELU if wanted."""

    def __init__(self, linear: nn.Linear, *, gelu: bool) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._activation: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    def forward(self, rows: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, *self._activation)
        return output


def has_packed_products(dtype: torch.dtype) -> bool:
    """Return whether torch has the products in ``dtype`` that its compiler also calls for packed weights."""
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    is_available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not is_available or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _checked_copy(model: Any, dtype: torch.dtype) -> Any:
    """Return the copy of a model, or None if its hidden states of a small input are not those of the model."""
    try:
        with torch.inference_mode():
            copied, ids = _fast_copy(model, dtype), torch.arange(16).reshape(2, 8) % model.config.vocab_size
            expected, found = (
                each.base_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float()
                for each in (model, copied)
            )
        if not expected.isfinite().all():  # the caller reports that the weights are damaged
            return None
        difference = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
        reason = f"its hidden states differ by {difference:.2g}" if not difference < _MAX_DIFFERENCE[dtype] else ""
    except Exception as error:  # code of an unknown encoder family can raise any exception
        reason = f"{type(error).__name__}: {error}"
    if reason:
        progress.note(f"The encoder computes without packed weights, which is slower, because a test failed: {reason}")
        return None
    return copied


def _fast_copy(model: Any, dtype: torch.dtype) -> Any:
    """Return a copy of a model in evaluation mode, with packed weights of type ``dtype`` in the encoder."""
    encoder = model.base_model
    of_encoder = {id(parameter) for parameter in encoder.parameters()}
    memo: dict[int, Any] = {  # what is not copied, but replaced
        id(parameter): nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
        if id(parameter) in of_encoder
        else parameter
        for parameter in model.parameters()
    }
    copied = copy.deepcopy(model, memo).eval()
    for parent in list(copied.base_model.modules()):
        gelu = _exact_gelu(parent)
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, _PackedLinear(child, gelu=gelu and name == "dense"))
        if gelu:
            parent.intermediate_act_fn = nn.Identity()
    return copied


def _exact_gelu(module: nn.Module) -> bool:
    """Return whether a module is the intermediate layer of BERT and its kin: a linear layer and the exact GELU."""
    activation: Any = getattr(module, "intermediate_act_fn", None)
    is_exact = type(activation).__name__ == "GELUActivation" and activation.act is nn.functional.gelu
    return is_exact and type(getattr(module, "dense", None)) is nn.Linear
