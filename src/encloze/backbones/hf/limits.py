"""Input length limits of transformers encoders."""

from __future__ import annotations

from typing import Any

_DEFAULT_LIMIT = 512


def max_input_tokens(config: Any, encoder: Any) -> int:
    """Return the longest input of an encoder in tokens, including special tokens.

    Args:
        config: The configuration of the encoder.
        encoder: The transformers encoder, without its task head.

    Returns:
        The limit; 512 if the configuration sets none (Funnel, XLNet).

    Example:
        >>> max_input_tokens(model.config, model.base_model)
        512
    """
    limit = int(getattr(config, "max_position_embeddings", 0))
    return limit - first_position(encoder) if limit > 0 else _DEFAULT_LIMIT


def first_position(encoder: Any) -> int:
    """Return the index of the first token's row in the matrix of position embeddings.

    It is the id of the padding token plus 1 for encoders with positions as in RoBERTa, and 0 for other encoders.
    """
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding_idx = getattr(table, "padding_idx", None)
    return 0 if padding_idx is None else int(padding_idx) + 1
