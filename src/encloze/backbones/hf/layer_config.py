"""Sizes, dropout rates and initialization of an encoder's layers, to create new layers with the same values."""

from __future__ import annotations

from typing import Any, NamedTuple


class LayerConfig(NamedTuple):
    """Hyperparameters of one transformer layer, named as in ``transformers.BertConfig``.

    A pre-training decoder copies them from its encoder, so that the layers of both have the same size.
    """

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    layer_norm_eps: float
    initializer_range: float

    @classmethod
    def from_config(cls, config: Any) -> LayerConfig:
        """Read the hyperparameters from a transformers configuration; a missing one gets the default of BERT.

        Args:
            config: A configuration of any encoder family.

        Returns:
            The hyperparameters of the encoder's layers.

        Example:
            >>> LayerConfig.from_config(transformers.BertConfig()).hidden_size
            768
        """

        def value(default: float, *names: str) -> Any:
            values = (getattr(config, name, None) for name in names)
            return next((value for value in values if value is not None), default)

        hidden_size = int(config.hidden_size)
        return cls(
            hidden_size=hidden_size,
            intermediate_size=int(value(4 * hidden_size, "intermediate_size", "hidden_dim")),
            num_attention_heads=int(config.num_attention_heads),
            hidden_dropout_prob=float(value(0.1, "hidden_dropout_prob", "mlp_dropout", "hidden_dropout", "dropout")),
            attention_probs_dropout_prob=float(value(0.1, "attention_probs_dropout_prob", "attention_dropout")),
            layer_norm_eps=float(value(1e-12, "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")),
            initializer_range=float(value(0.02, "initializer_range")),
        )
