"""Functions that compute the input of an encoder's first layer with the embedding module of the transformers model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from encloze.backbones.hf.limits import first_position

# Modules of ELECTRA and ConvBERT, DeBERTa, ALBERT and RemBERT that project narrow embeddings to the hidden size.
_PROJECTIONS = ("embeddings_project", "embeddings.embed_proj", "encoder.embedding_hidden_mapping_in")


def embed_tokens(encoder: Any, ids: Tensor) -> Tensor:
    """Compute the input of the first layer from token ids (batch x length), without a forward pass through the layers.

    The result has the shape batch x length x hidden size.
    """
    embeddings = getattr(encoder, "embeddings", encoder.get_input_embeddings())
    return project_embeddings(encoder, embeddings(ids))


def embed_vectors(encoder: Any, vectors: Tensor) -> Tensor:
    """Call the embedding module with ``vectors`` in place of token embeddings, and return its output.

    ``vectors`` and the result have the shape batch x length x hidden size.
    """
    embedded: Tensor = encoder.embeddings(input_ids=None, inputs_embeds=vectors)
    return embedded


def position_table(encoder: Any, length: int) -> Tensor:
    """Return the position embeddings of the first ``length`` tokens of a text: length x hidden size."""
    table: Tensor = encoder.embeddings.position_embeddings.weight
    first = first_position(encoder)
    return table[first : first + length]


def project_embeddings(encoder: Any, vectors: Tensor) -> Tensor:
    """Project vectors from the embedding size to the hidden size; return them unchanged if both sizes are equal."""
    if vectors.shape[-1] == encoder.config.hidden_size:
        return vectors
    modules = dict(encoder.named_modules())
    for name in _PROJECTIONS:
        if name in modules:
            projected: Tensor = modules[name](vectors)
            return projected
    raise NotImplementedError(
        f"encloze does not support {encoder.config.model_type!r} encoders whose embedding size and hidden size differ. "
        "Use another encoder"
    )


def first_layer_input(encoder: Any, ids: Tensor) -> Tensor:
    """Return the input of the first layer, taken from a forward pass through all layers.

    This is slow, but correct for every encoder.
    """
    output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    states: Tensor = output.hidden_states[0]
    return states
