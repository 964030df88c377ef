"""Linear interpolation of the weights of two models of the same architecture (Wortsman et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.origins.base import InitialModel

_SHOWN_NAMES = 3


class WeightInterpolation:
    """Interpolates between the weights of a model before and after it was adapted, such as by fine-tuning.

    Args:
        parameters: Parameters of the model after adaptation, by name. They are set to the interpolated values. Those
            that ``originals`` lacks do not change.
        originals: Values before adaptation, by name. Those that ``parameters`` lacks are ignored.

    Example:
        >>> interpolation = WeightInterpolation(all_parameters(adapted), all_parameters(original))
        >>> interpolation.apply(0.5)  # the parameters of adapted are now the means of both
    """

    def __init__(self, parameters: dict[str, nn.Parameter], originals: Mapping[str, Tensor]) -> None:
        unique = {id(parameter): (name, parameter) for name, parameter in reversed(parameters.items())}
        self._triples = [
            (parameter, parameter.detach().clone(), originals[name].detach())
            for name, parameter in unique.values()  # tied parameters are one object, and stay tied
            if name in originals
        ]

    @torch.no_grad()
    def apply(self, weight: float) -> None:
        """Set each parameter to ``weight`` x value after adaptation + (1 - ``weight``) x value before it.

        Args:
            weight: From 0 (exactly the values before adaptation) to 1 (exactly the values after it). For weights
                between 0 and 1, the parameters are computed in float32.
        """
        for parameter, adapted, original in self._triples:
            exact = {0.0: original, 1.0: adapted}
            parameter.copy_(exact[weight] if weight in exact else torch.lerp(original.float(), adapted.float(), weight))


def architecture_differences(model: InitialModel, original: InitialModel) -> list[str]:
    """Return the reasons why the weights of two models cannot be interpolated; an empty list if they can."""
    types = [each.backbone.config.model_type for each in (model, original)]
    if types[0] != types[1]:
        return [f"the model types are {types[0]} and {types[1]}"]
    differences = []
    num_heads = [getattr(each.backbone.config, "num_attention_heads", 0) for each in (model, original)]
    if num_heads[0] != num_heads[1]:  # not visible in the shape of any tensor
        differences.append(f"they have {num_heads[0]} and {num_heads[1]} attention heads")
    own, others = (all_parameters(each.backbone) for each in (model, original))
    if unmatched := sorted(name for name in own.keys() ^ others.keys() if name.startswith("encoder.")):
        shown = ", ".join(unmatched[:_SHOWN_NAMES])
        differences.append(f"{len(unmatched)} tensors of the encoder are in only one of them, such as {shown}")
    shapes = [
        f"{name} ({_shape(parameter)} and {_shape(others[name])})"
        for name, parameter in own.items()
        if name in others and parameter.shape != others[name].shape
    ]
    if shapes:
        differences.append(f"{len(shapes)} tensors differ in shape, such as {', '.join(shapes[:_SHOWN_NAMES])}")
    return differences + _token_differences(model, original)


def _token_differences(model: InitialModel, original: InitialModel) -> list[str]:
    if model.tokenizer.fingerprint == original.tokenizer.fingerprint:
        return []
    own, others = (each.tokenizer.backend.get_vocab(with_added_tokens=True) for each in (model, original))
    if tokens := sorted(token for token, _ in own.items() ^ others.items()):
        shown = ", ".join(map(repr, dict.fromkeys(tokens[:_SHOWN_NAMES])))
        return [f"their tokenizers have {len(own)} and {len(others)} tokens and differ in {shown}"]
    return []


def _shape(parameter: nn.Parameter) -> str:
    return " x ".join(map(str, parameter.shape))


def all_parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """Return the parameters of the encoder and, if it has one, of its masked language modeling head, keyed by name.

    The encoder's parameters have the same names in models with and without that head. A tied parameter is listed under
    each of its names.
    """
    of_encoder = backbone.encoder.named_parameters(remove_duplicate=False)
    parameters = {f"encoder.{name}": parameter for name, parameter in of_encoder}
    if backbone.has_mlm_head:
        prefix = f"{backbone.model.base_model_prefix}."
        of_model = backbone.model.named_parameters(remove_duplicate=False)
        parameters |= {name: parameter for name, parameter in of_model if not name.startswith(prefix)}
    return parameters
