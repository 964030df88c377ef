"""Smaller copies of transformers models, which have some of the layers or tokens of the original."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import nn

from encloze.backbones.hf.loading import quiet_transformers
from encloze.errors import CheckpointError


def evenly_spaced(count: int, total: int) -> list[int]:
    """Return ``count`` numbers of layers out of ``total``, evenly spaced, the first and the last one included.

    Raises:
        ValueError: ``count`` is not between 1 and ``total``.

    Example:
        >>> evenly_spaced(3, 6)
        [0, 2, 5]
    """
    if not 1 <= count <= total:
        raise ValueError(f"the model has {total} layers: a copy can have from 1 to {total}, not {count}")
    return [int(number) for number in np.linspace(0, total - 1, count).round()]


def with_layers(model: Any, numbers: Sequence[int]) -> Any:
    """Return a copy of a transformers model that has only some of its encoder layers.

    The copy is built from a configuration with fewer layers, so that it is the model that its saved folder loads as.

    Args:
        model: A transformers model, with or without a head.
        numbers: Indices of the layers to keep, in ascending order.

    Returns:
        A model of the same class. All other weights are those of ``model``.

    Raises:
        CheckpointError: The layers of the model cannot be identified.
    """
    prefix, total = _layer_list(model)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(numbers)
    if getattr(config, "layer_types", None):  # ModernBERT: which layers attend to all tokens
        config.layer_types = [config.layer_types[number] for number in numbers]
    new_number = {str(old): str(new) for new, old in enumerate(numbers)}
    weights = {}
    for name, value in model.state_dict().items():
        if not name.startswith(prefix):
            weights[name] = value
        elif (old := (rest := name.removeprefix(prefix)).partition(".")[0]) in new_number:
            weights[f"{prefix}{new_number[old]}{rest.removeprefix(old)}"] = value
    return _built(model, config, weights, f"with {len(numbers)} of its {total} layers")


def with_fewer_layers(model: Any, count: int) -> Any:
    """Return a copy of a transformers model with ``count`` of its layers, evenly spaced (see ``with_layers``).

    Raises:
        ValueError: ``count`` is not between 1 and the number of layers.
        CheckpointError: The layers of the model cannot be identified.
    """
    return with_layers(model, evenly_spaced(count, number_of_layers(model)))


def with_tokens(model: Any, kept: np.ndarray) -> Any:
    """Return a copy of a transformers model that has only some of the tokens of its vocabulary.

    Args:
        model: A transformers model, with or without a head.
        kept: Ids of the tokens to keep, in ascending order (int64). They become 0, 1 and so on.

    Returns:
        A model of the same class. For the kept tokens it computes what ``model`` computes.

    Raises:
        CheckpointError: The padding token, from whose id some models count positions, would get another id.
    """
    config, new_id = copy.deepcopy(model.config), {int(old): new for new, old in enumerate(kept)}
    positions = (
        module for name, module in model.named_modules() if isinstance(module, nn.Embedding) and "position" in name
    )
    padding = [module.padding_idx for module in positions if module.padding_idx is not None]
    if any(new_id.get(number) != number for number in padding):
        raise CheckpointError(
            f"an encoder of type {config.model_type!r} counts positions from the id of its padding token, which would "
            "change. Its vocabulary cannot be pruned"
        )
    config.vocab_size = len(kept)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_id.get(value))
    with_rows = {id(parameter) for parameter in token_parameters(model)}
    names = {name for name, one in model.named_parameters(remove_duplicate=False) if id(one) in with_rows}
    weights = {name: value[kept] if name in names else value for name, value in model.state_dict().items()}
    return _built(model, config, weights, f"with {len(kept):,} of its tokens")


def token_parameters(model: Any) -> Iterator[nn.Parameter]:
    """Yield the parameters with one row per vocabulary token: token embeddings, output matrix and output bias."""
    yield model.get_input_embeddings().weight
    if (head := model.get_output_embeddings()) is not None:
        yield head.weight
        # The bias may be registered twice: in the linear layer, and in the module around it.
        for module in (head, *(module for module in model.modules() if head in module.children())):
            if getattr(module, "bias", None) is not None:
                yield module.bias


def _built(model: Any, config: Any, weights: dict[str, Any], description: str) -> Any:
    """Return a model of the class of ``model`` with a configuration and weights."""
    with quiet_transformers():
        smaller = type(model)(config)
    missing, superfluous = smaller.load_state_dict(weights, strict=False)
    if superfluous or any("pooler." not in name for name in missing):  # encoders are loaded without their pooler
        faults = ", ".join([*superfluous, *missing][:3])
        raise CheckpointError(
            f"an encoder of type {config.model_type!r} cannot be copied {description}: {faults} do not fit. Give "
            "another model"
        )
    smaller.tie_weights()
    return smaller


def number_of_layers(model: Any) -> int:
    """Return the number of encoder layers of a transformers model. Raises CheckpointError if they are not found."""
    return _layer_list(model)[1]


def _layer_list(model: Any) -> tuple[str, int]:
    """Return the prefix of the names of the layers' weights, and the number of layers."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    total = int(getattr(model.config, "num_hidden_layers", 0) or 0)
    names = [name for name, module in lists.items() if len(module) == total > 0]
    if len(names) != 1:
        raise CheckpointError(
            f"the layers of an encoder of type {model.config.model_type!r} cannot be identified. Give another student"
        )
    return f"{names[0]}.", total
